//! The statements of a session: tables are created and written, views are created over them, and both are read.
//!
//! Whoever holds the rows runs them; here they are only read, and every write becomes a [`Read`] of the rows that it
//! is about, because what an expression means is DataFusion's business.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use std::ops::Range;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    self, Assignment, AssignmentTarget, Expr, FromTable, Ident, ObjectName, ObjectType,
    OnConflictAction, OnInsert, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    TableObject, TableWithJoins, UpdateTableFromKind,
};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::codes;
use crate::definition::TableDefinition;
use crate::format;
use crate::lex::{Lexeme, lex, parser, span_of, syntax_problem};
use crate::limits::TEXT_BYTES_MAX;
use crate::problem::{Problem, Problems, suggest};
use crate::read::Read;
use crate::script::{check_operators, check_size, with_pipes};
use crate::stack::deep;

/// The column that numbers the rows of the table that an `update` or `delete` is about.
pub const ROW_NUMBER: &str = "\u{1}row";

/// A statement of a session.
#[derive(Clone, Debug)]
pub enum SessionStatement {
    /// `create table …`.
    CreateTable {
        /// The table.
        table: TableDefinition,
        /// Whether it is no mistake when it exists.
        if_not_exists: bool,
    },
    /// `create [materialized] view …`.
    CreateView {
        /// The statement, at its place in the text, with blanks before it.
        text: String,
    },
    /// `drop table …`, `drop [materialized] view …`.
    Drop {
        /// Whether tables or views are meant.
        kind: Dropped,
        /// Their names.
        names: Vec<String>,
        /// Whether it is no mistake when they do not exist.
        if_exists: bool,
    },
    /// `insert into …`.
    Insert(Insert),
    /// `update …`.
    Update(Update),
    /// `delete from …`.
    Delete(Delete),
    /// `truncate …`, with the tables' names.
    Truncate(Vec<String>),
    /// `begin`: the writes that follow become visible together.
    Begin,
    /// `commit`.
    Commit,
    /// `rollback`.
    Rollback,
    /// `flush`: wait until every view has reached the log's end.
    Flush,
    /// `explain …`, with a statement that creates the view to explain.
    Explain(String),
    /// `explain analyze VIEW`, with the view's name.
    Analyze(String),
    /// A query.
    Query(Read),
}

/// What is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Tables.
    Table,
    /// Views.
    View,
}

/// `insert into TABLE [(COLUMN, …)] QUERY [on conflict do nothing]`.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The table.
    pub table: String,
    /// Whether rows whose key exists are passed over.
    pub or_nothing: bool,
    columns: Vec<String>,
    /// `None` for `default values`.
    rows: Option<Box<Query>>,
    place: Place,
}

/// `update TABLE [as ALIAS] set COLUMN = VALUE, … [from …] [where …]`.
#[derive(Clone, Debug)]
pub struct Update {
    /// The table.
    pub table: String,
    assignments: Vec<Assignment>,
    target: TableWithJoins,
    from: Vec<TableWithJoins>,
    condition: Option<Expr>,
    place: Place,
}

/// `delete from TABLE [as ALIAS] [using …] [where …]`.
#[derive(Clone, Debug)]
pub struct Delete {
    /// The table.
    pub table: String,
    target: TableWithJoins,
    using: Vec<TableWithJoins>,
    condition: Option<Expr>,
    place: Place,
}

/// Rows to write: which columns of the table the read's columns are, after the row's number if there is one.
#[derive(Clone, Debug)]
pub struct Values {
    /// The rows.
    pub read: Read,
    /// The rows one by one, when they are written out: values of one column need not have a common type, because each
    /// becomes one of the column's.
    pub one_by_one: Vec<Read>,
    /// For each column of the read, the table's column.
    pub columns: Vec<usize>,
}

/// Where a statement is.
#[derive(Clone, Debug)]
struct Place {
    text: Arc<str>,
    span: Range<usize>,
}

impl Place {
    fn problems(&self, problem: Problem) -> Problems {
        Problems { text: self.text.to_string(), problems: vec![problem] }
    }

    fn read(&self, query: Box<Query>) -> Read {
        Read { query, text: Arc::clone(&self.text), span: self.span.clone() }
    }

    fn column(&self, table: &TableDefinition, name: &str) -> Result<usize, Problems> {
        table.column(name).ok_or_else(|| {
            let names = table.columns.iter().map(|column| column.field.name().as_str());
            let help = suggest(name, names, "there are");
            let message = format!("table {} has no column {name}", table.name);
            let span = crate::read::word_span(&self.text, &self.span, name);
            self.problems(Problem { help, ..Problem::new(codes::COLUMN, span, message, "here") })
        })
    }
}

/// Reads the statements of a session.
///
/// # Errors
/// Everything that is not written as the language wants it, one problem for each statement.
pub fn session_statements(text: &str) -> Result<Vec<SessionStatement>, Problems> {
    deep(|| statements(text))
}

fn statements(text: &str) -> Result<Vec<SessionStatement>, Problems> {
    let of_all = |problem| Problems { text: text.to_owned(), problems: vec![problem] };
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the text is longer than {TEXT_BYTES_MAX} bytes");
        return Err(of_all(Problem::new(codes::TOO_LARGE, 0..0, message, "here")));
    }
    let lexemes = lex(text, 0..text.len()).map_err(of_all)?;
    let shared: Arc<str> = text.into();
    let (mut statements, mut problems) = (Vec::new(), Vec::new());
    for part in lexemes.split(|lexeme| lexeme.token == Token::SemiColon) {
        let Some(span) = span_of(part) else { continue };
        match statement(part, Place { text: Arc::clone(&shared), span }) {
            Ok(statement) => statements.push(statement),
            Err(found) => problems.extend(found),
        }
    }
    Problems::unless(text, problems, statements)
}

fn statement(lexemes: &[Lexeme], place: Place) -> Result<SessionStatement, Vec<Problem>> {
    let is = |at: usize, word: &str| lexemes.get(at).is_some_and(|lexeme| lexeme.is_word(word));
    let alone = lexemes.len() == 1;
    match lexemes[0].text.as_str() {
        "begin" | "start" => Ok(SessionStatement::Begin),
        "commit" | "end" => Ok(SessionStatement::Commit),
        "rollback" | "abort" => Ok(SessionStatement::Rollback),
        "flush" if alone => Ok(SessionStatement::Flush),
        "explain" => explain(&lexemes[1..], &place),
        "create" if is(1, "view") || is(1, "materialized") => {
            let blanks = blanked(&place.text[..place.span.start]);
            let text = format!("{blanks}{}", &place.text[place.span.clone()]);
            Ok(SessionStatement::CreateView { text })
        }
        "select" | "with" | "values" | "from" | "(" => query(lexemes, &place),
        "create" | "drop" | "insert" | "update" | "delete" | "truncate" => parsed(lexemes, place),
        other => Err(vec![unknown(other, place.span.start..place.span.start + other.len())]),
    }
}

fn unknown(word: &str, span: Range<usize>) -> Problem {
    let message = format!("there is no statement `{word}`");
    Problem::new(codes::STATEMENT, span, message, "not a statement").with_help(
        "there are select, insert, update, delete, truncate, create table, create view, drop, \
         begin, commit, rollback, flush and explain",
    )
}

/// The text with everything but line ends blanked, of the same length in bytes.
fn blanked(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

fn explain(lexemes: &[Lexeme], place: &Place) -> Result<SessionStatement, Vec<Problem>> {
    let Some(span) = span_of(lexemes) else {
        return Err(vec![unknown("explain", place.span.clone())]);
    };
    if let [analyze, view] = lexemes
        && analyze.is_word("analyze")
        && let Some(name) = view.name()
    {
        return Ok(SessionStatement::Analyze(name));
    }
    let text = &place.text[span];
    let creates = lexemes[0].is_word("create");
    let text = if creates { text.to_owned() } else { format!("create view explained as {text}") };
    Ok(SessionStatement::Explain(text))
}

fn query(lexemes: &[Lexeme], place: &Place) -> Result<SessionStatement, Vec<Problem>> {
    check_size(lexemes, place.span.end).map_err(|problem| vec![problem])?;
    let mut lexemes = with_pipes(lexemes);
    if lexemes[0].is_word("from") {
        let at = place.span.start;
        lexemes.splice(0..0, ["select", "*"].map(|word| implied(word, at)));
    }
    let mut parser = parser(&lexemes, place.span.end);
    let query = parser.parse_query().and_then(|query| {
        parser.expect_token(&Token::EOF)?;
        Ok(query)
    });
    match query {
        Ok(query) => Ok(SessionStatement::Query(place.read(query))),
        Err(error) => Err(vec![syntax_problem(error, &lexemes, place.span.end)]),
    }
}

fn implied(word: &str, at: usize) -> Lexeme {
    match word {
        "*" => Lexeme { token: Token::Mul, span: at..at, text: "*".to_owned(), glued: false },
        word => Lexeme::implied(word, at),
    }
}

/// Reads a `create table` of a script.
pub(crate) fn table(
    lexemes: &[Lexeme],
    text: &str,
    span: Range<usize>,
) -> Result<TableDefinition, Vec<Problem>> {
    match parsed(lexemes, Place { text: text.into(), span })? {
        SessionStatement::CreateTable { table, .. } => Ok(table),
        _ => unreachable!("it begins with `create table`"),
    }
}

/// Reads a statement that sqlparser knows.
fn parsed(lexemes: &[Lexeme], place: Place) -> Result<SessionStatement, Vec<Problem>> {
    check_operators(lexemes).map_err(|problem| vec![problem])?;
    let mut parser = parser(lexemes, place.span.end);
    let statement = parser.parse_statement().and_then(|statement| {
        parser.expect_token(&Token::EOF)?;
        Ok(statement)
    });
    let statement =
        statement.map_err(|error| vec![syntax_problem(error, lexemes, place.span.end)])?;
    let refused = |what: &str| {
        let message = format!("{what} is not supported");
        Err(vec![Problem::new(codes::CLAUSE, place.span.clone(), message, "in here")])
    };
    match statement {
        Statement::CreateTable(create) => {
            let table = TableDefinition::new(&create, &format::query(lexemes), &place.span)?;
            Ok(SessionStatement::CreateTable { table, if_not_exists: create.if_not_exists })
        }
        Statement::Drop { object_type, if_exists, names, cascade, .. } => {
            let kind = match object_type {
                ObjectType::Table => Dropped::Table,
                ObjectType::View | ObjectType::MaterializedView => Dropped::View,
                other => return refused(&format!("`drop {other}`").to_lowercase()),
            };
            if cascade {
                return refused("`cascade`");
            }
            let names = names.iter().filter_map(last_name).collect();
            Ok(SessionStatement::Drop { kind, names, if_exists })
        }
        Statement::Truncate(truncate) => {
            let names = truncate.table_names.iter().filter_map(|table| last_name(&table.name));
            Ok(SessionStatement::Truncate(names.collect()))
        }
        Statement::Insert(insert) => self::insert(insert, &place),
        Statement::Update(update) => self::update(update, &place),
        Statement::Delete(delete) => self::delete(delete, &place),
        _ => refused("this statement"),
    }
}

fn insert(insert: ast::Insert, place: &Place) -> Result<SessionStatement, Vec<Problem>> {
    let refused = |what: &str| {
        let message = format!("{what} is not supported");
        Err(vec![Problem::new(codes::CLAUSE, place.span.clone(), message, "in here")])
    };
    let TableObject::TableName(name) = &insert.table else {
        return refused("an insert into this");
    };
    if insert.returning.is_some() {
        return refused("`returning`");
    }
    let or_nothing = match &insert.on {
        None => false,
        Some(OnInsert::OnConflict(conflict)) => match conflict.action {
            OnConflictAction::DoNothing => true,
            OnConflictAction::DoUpdate(_) => return refused("`on conflict … do update`"),
        },
        Some(_) => return refused("`on duplicate key update`"),
    };
    Ok(SessionStatement::Insert(Insert {
        table: last_name(name).unwrap_or_default(),
        or_nothing,
        columns: insert.columns.iter().filter_map(last_name).collect(),
        rows: insert.source,
        place: place.clone(),
    }))
}

fn update(update: ast::Update, place: &Place) -> Result<SessionStatement, Vec<Problem>> {
    let table = table_of(&update.table, place)?;
    if update.returning.is_some() {
        let message = "`returning` is not supported";
        return Err(vec![Problem::new(codes::CLAUSE, place.span.clone(), message, "in here")]);
    }
    let from = match update.from {
        None => Vec::new(),
        Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => from,
    };
    Ok(SessionStatement::Update(Update {
        table,
        assignments: update.assignments,
        target: update.table,
        from,
        condition: update.selection,
        place: place.clone(),
    }))
}

fn delete(delete: ast::Delete, place: &Place) -> Result<SessionStatement, Vec<Problem>> {
    let (FromTable::WithFromKeyword(mut from) | FromTable::WithoutKeyword(mut from)) = delete.from;
    if from.len() != 1 || delete.returning.is_some() {
        let message = "this form of delete is not supported";
        return Err(vec![Problem::new(codes::CLAUSE, place.span.clone(), message, "in here")]);
    }
    let target = from.remove(0);
    Ok(SessionStatement::Delete(Delete {
        table: table_of(&target, place)?,
        target,
        using: delete.using.unwrap_or_default(),
        condition: delete.selection,
        place: place.clone(),
    }))
}

fn table_of(target: &TableWithJoins, place: &Place) -> Result<String, Vec<Problem>> {
    match &target.relation {
        TableFactor::Table { name, .. } if target.joins.is_empty() => {
            Ok(last_name(name).unwrap_or_default())
        }
        _ => {
            let message = "one table is changed at a time";
            Err(vec![Problem::new(codes::SYNTAX, place.span.clone(), message, "in here")])
        }
    }
}

impl Insert {
    /// The rows to insert, and the columns that they are for; the other columns get their defaults.
    ///
    /// # Errors
    /// When a column is not there, or occurs twice.
    pub fn values(&self, table: &TableDefinition) -> Result<Values, Problems> {
        let mut columns = Vec::new();
        for name in &self.columns {
            let column = self.place.column(table, name)?;
            if columns.contains(&column) {
                let message = format!("the column {name} is there twice");
                let span = self.place.span.clone();
                return Err(self.place.problems(Problem::new(
                    codes::DUPLICATE,
                    span,
                    message,
                    "in here",
                )));
            }
            columns.push(column);
        }
        if columns.is_empty() {
            columns.extend(0..table.columns.len());
        }
        let mut query = match &self.rows {
            Some(rows) => rows.clone(),
            None => {
                let all = columns.iter().map(|&column| default_of(table, column));
                Box::new(selection(all.map(SelectItem::UnnamedExpr).collect()))
            }
        };
        let mut one_by_one = Vec::new();
        if let SetExpr::Values(values) = query.body.as_mut() {
            let width = values.rows.first().map_or(0, |row| row.content.len());
            // PostgreSQL fills the columns from the left when none are named.
            if self.columns.is_empty() && width < columns.len() {
                columns.truncate(width);
            }
            for row in &mut values.rows {
                for (value, &column) in row.content.iter_mut().zip(&columns) {
                    if is_default(value) {
                        *value = default_of(table, column);
                    }
                }
                let items = row.content.iter().cloned().map(SelectItem::UnnamedExpr).collect();
                one_by_one.push(self.place.read(Box::new(selection(items))));
            }
        }
        Ok(Values { read: self.place.read(query), one_by_one, columns })
    }

    /// One row with the defaults of the columns that `values` leaves out; `None` when it leaves none out that has one.
    #[must_use]
    pub fn defaults(&self, table: &TableDefinition, given: &[usize]) -> Option<Values> {
        let missing = (0..table.columns.len()).filter(|column| !given.contains(column));
        let columns: Vec<usize> =
            missing.filter(|&column| table.columns[column].default.is_some()).collect();
        if columns.is_empty() {
            return None;
        }
        let all = columns.iter().map(|&column| default_of(table, column));
        let query = selection(all.map(SelectItem::UnnamedExpr).collect());
        Some(Values { read: self.place.read(Box::new(query)), one_by_one: Vec::new(), columns })
    }
}

impl Update {
    /// The numbers of the rows to change, with the new values of the columns that are set.
    ///
    /// # Errors
    /// When a column is not there.
    pub fn values(&self, table: &TableDefinition) -> Result<Values, Problems> {
        let mut items = vec![row_number(&self.target)];
        let mut columns = Vec::new();
        for assignment in &self.assignments {
            let (names, values) = match (&assignment.target, &assignment.value) {
                (AssignmentTarget::ColumnName(name), value) => {
                    (vec![last_name(name).unwrap_or_default()], vec![value.clone()])
                }
                (AssignmentTarget::Tuple(names), Expr::Tuple(values))
                    if names.len() == values.len() =>
                {
                    (names.iter().filter_map(last_name).collect(), values.clone())
                }
                (AssignmentTarget::Tuple(_), _) => {
                    let message = "several columns are set with as many values: (a, b) = (1, 2)";
                    let span = self.place.span.clone();
                    let problem = Problem::new(codes::SYNTAX, span, message, "in here");
                    return Err(self.place.problems(problem));
                }
            };
            for (name, value) in names.iter().zip(values) {
                let column = self.place.column(table, name)?;
                let value = if is_default(&value) { default_of(table, column) } else { value };
                let alias = Ident::with_quote('"', format!("\u{1}{}", columns.len()));
                items.push(SelectItem::ExprWithAlias { expr: value, alias });
                columns.push(column);
            }
        }
        let from = std::iter::once(&self.target).chain(&self.from).cloned().collect();
        let query = filtered(items, from, self.condition.clone());
        Ok(Values { read: self.place.read(Box::new(query)), one_by_one: Vec::new(), columns })
    }
}

impl Delete {
    /// The numbers of the rows to remove.
    #[must_use]
    pub fn rows(&self) -> Read {
        let from = std::iter::once(&self.target).chain(&self.using).cloned().collect();
        let query = filtered(vec![row_number(&self.target)], from, self.condition.clone());
        self.place.read(Box::new(query))
    }
}

/// The number of a row of the table that is changed.
fn row_number(target: &TableWithJoins) -> SelectItem {
    let TableFactor::Table { name, alias, .. } = &target.relation else {
        unreachable!("the target was found to be a table")
    };
    let table = match (alias, name.0.last()) {
        (Some(alias), _) => alias.name.clone(),
        (None, last) => last.and_then(|part| part.as_ident()).cloned().unwrap_or(Ident::new("")),
    };
    SelectItem::UnnamedExpr(Expr::CompoundIdentifier(vec![
        table,
        Ident::with_quote('"', ROW_NUMBER),
    ]))
}

fn filtered(items: Vec<SelectItem>, from: Vec<TableWithJoins>, condition: Option<Expr>) -> Query {
    let mut query = selection(items);
    let select = select_of(&mut query);
    select.from = from;
    select.selection = condition;
    query
}

/// `select …` of nothing but expressions.
fn selection(items: Vec<SelectItem>) -> Query {
    let words = ["select", "1"].map(|word| match word {
        "1" => Lexeme {
            token: Token::Number("1".to_owned(), false),
            span: 0..0,
            text: "1".to_owned(),
            glued: false,
        },
        word => Lexeme::implied(word, 0),
    });
    let mut query = *parser(&words, 0).parse_query().expect("the text is ours");
    select_of(&mut query).projection = items;
    query
}

fn select_of(query: &mut Query) -> &mut Select {
    match query.body.as_mut() {
        SetExpr::Select(select) => select,
        _ => unreachable!("the text is ours"),
    }
}

fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(name)
        if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("default"))
}

fn default_of(table: &TableDefinition, column: usize) -> Expr {
    let null = || Expr::Value(ast::Value::Null.into());
    table.columns[column].default.clone().unwrap_or_else(null)
}

/// The name that an identifier stands for: unquoted words in lower case.
pub(crate) fn ident(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

/// The last part of a name.
pub(crate) fn last_name(name: &ObjectName) -> Option<String> {
    Some(ident(name.0.last()?.as_ident()?))
}
