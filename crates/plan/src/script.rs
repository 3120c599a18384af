//! Scripts: statements that create sources, tables, views and sinks.
//!
//! Only the form is looked at here; which tables and columns there are is the planner's question. Our own statements
//! are read word by word; a view's query is handed to sqlparser.

#![allow(clippy::wildcard_enum_match_arm, reason = "tokens are sqlparser's")]

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::catalog::Catalog;
use crate::codes::{self, Code};
use crate::definition::TableDefinition;
use crate::format;
use crate::ir::{SinkSpec, SourceSpec};
use crate::lex::{Lexeme, lex, parser, span_of, syntax_problem};
use crate::limits::{OPERATORS_MAX, STATEMENT_TOKENS_MAX, TEXT_BYTES_MAX};
use crate::name::{absolute, is_own, literal, option, quoted};
use crate::pipe;
use crate::problem::{Problem, Problems, nearest};
use crate::session;
use crate::stack::deep;

/// Statements, read but not yet planned.
///
/// Two scripts are equal when they are written the same way canonically, wherever their statements came from.
#[derive(Clone, Debug)]
pub struct Script {
    /// The text that the user wrote.
    pub(crate) text: String,
    pub(crate) statements: Vec<Statement>,
}

/// A statement, and where it is in the text.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    Source(Name, SourceSpec),
    /// `create table …`, of Evert's own.
    Table(Name, Box<TableDefinition>),
    View(View),
    Sink(Name, SinkSpec),
    /// `create sink NAME from SOURCE.* into 'URL'`: a view and a sink for each table.
    Mirror(Mirror),
}

/// A name, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
    /// Where the name that it refers to is, in a sink: the view; otherwise the name itself.
    pub(crate) target_span: Range<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) name: Name,
    pub(crate) query: Box<Query>,
    pub(crate) query_span: Range<usize>,
    /// Where each word of the query is.
    pub(crate) words: Vec<Range<usize>>,
    /// The statement in canonical form.
    pub(crate) statement: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub(crate) name: Name,
    pub(crate) source: String,
    pub(crate) url: String,
    pub(crate) url_span: Range<usize>,
    pub(crate) options: BTreeMap<String, String>,
}

/// Reads a script or a pipe.
///
/// # Errors
/// Everything that is not written as the language wants it, one problem for each statement.
pub fn parse(text: &str) -> Result<Script, Problems> {
    parse_in(text, &Catalog::default())
}

/// Reads a script or a pipe; the names that a pipe invents stay clear of those in the catalogue, unless they mean the
/// same.
///
/// # Errors
/// Everything that is not written as the language wants it, one problem for each statement.
pub fn parse_in(text: &str, catalog: &Catalog) -> Result<Script, Problems> {
    deep(|| read(text, catalog))
}

fn read(text: &str, catalog: &Catalog) -> Result<Script, Problems> {
    let mut problems = Vec::new();
    let statements = if text.len() > TEXT_BYTES_MAX {
        let message = format!("the text is longer than {TEXT_BYTES_MAX} bytes");
        problems.push(Problem::new(codes::TOO_LARGE, 0..0, message, "here"));
        Vec::new()
    } else if is_script(text) {
        let statements = script_statements(text, &mut problems);
        match &catalog.base {
            Some(base) => statements.into_iter().map(|statement| statement.from(base)).collect(),
            None => statements,
        }
    } else {
        pipe::statements(text, catalog, &mut problems)
    };
    Problems::unless(text, problems, Script { text: text.to_owned(), statements })
}

/// A script begins with a statement; anything else is a pipe.
fn is_script(text: &str) -> bool {
    const STARTS: [&str; 8] =
        ["create", "insert", "update", "delete", "drop", "alter", "explain", "show"];
    let first = skip_blanks(text, 0);
    let rest = &text[first..];
    let word = rest.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
    let followed = rest[word.len()..].starts_with(char::is_whitespace);
    rest.is_empty()
        || rest.starts_with(';')
        || (followed && STARTS.contains(&&*word.to_lowercase()))
}

/// Returns the first byte from `at` that is neither blank nor inside of a comment.
pub(crate) fn skip_blanks(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        let comment = if trimmed.starts_with("--") {
            trimmed.find('\n').unwrap_or(trimmed.len())
        } else if trimmed.starts_with("/*") {
            trimmed.find("*/").map_or(trimmed.len(), |end| end + 2)
        } else {
            return at;
        };
        at += comment;
    }
}

fn script_statements(text: &str, problems: &mut Vec<Problem>) -> Vec<Statement> {
    let lexemes = match lex(text, 0..text.len()) {
        Ok(lexemes) => lexemes,
        Err(problem) => {
            problems.push(problem);
            return Vec::new();
        }
    };
    let mut statements = Vec::new();
    for part in lexemes.split(|lexeme| lexeme.token == Token::SemiColon) {
        let Some(span) = span_of(part) else { continue };
        match statement(part, text, span.end) {
            Ok(statement) => statements.push(statement),
            Err(found) => problems.extend(found),
        }
    }
    statements
}

fn statement(lexemes: &[Lexeme], text: &str, end: usize) -> Result<Statement, Vec<Problem>> {
    let mut cursor = Cursor { lexemes, at: 0, end };
    let first = cursor.next();
    if !first.is_some_and(|first| first.is_word("create")) {
        return Err(vec![other_statement(first, end)]);
    }
    let mut kind = cursor.next();
    if kind.is_some_and(|kind| kind.is_word("materialized"))
        && cursor.peek().is_some_and(|next| next.is_word("view"))
    {
        // Every view is maintained; the word is PostgreSQL's.
        kind = cursor.next();
    }
    match kind.map(|kind| kind.text.as_str()) {
        Some("source") => source(cursor).map_err(|problem| vec![problem]),
        Some("table") => table(cursor, text),
        Some("view") => view(cursor),
        Some("sink") => sink(cursor).map_err(|problem| vec![problem]),
        _ => Err(vec![other_creation(kind, end)]),
    }
}

fn other_statement(first: Option<&Lexeme>, end: usize) -> Problem {
    let (text, span) = first.map_or(("", end..end), |first| (&*first.text, first.span.clone()));
    let help = match text {
        "insert" | "update" | "delete" | "merge" | "truncate" => {
            "a script that runs does not write: use `evert sql`, or write to the source itself"
                .to_owned()
        }
        "drop" => "use the command `evert drop NAME`".to_owned(),
        "select" | "from" | "with" => {
            "name it: `create view NAME as …`; to read once, use `evert query`".to_owned()
        }
        _ => match nearest(text, &["create"]) {
            Some(near) => format!("did you mean {near}?"),
            None => "a script holds `create source`, `create table`, `create view` and \
                     `create sink`"
                .to_owned(),
        },
    };
    let message = format!("a script has no statement `{text}`");
    Problem::new(codes::STATEMENT, span, message, "not a statement").with_help(help)
}

fn other_creation(kind: Option<&Lexeme>, end: usize) -> Problem {
    let (text, span) = kind.map_or(("", end..end), |kind| (&*kind.text, kind.span.clone()));
    let help = match text {
        "materialized" => "views are always maintained: write `create view`".to_owned(),
        "or" => "drop it first: `evert drop NAME`".to_owned(),
        "index" => "write `create sink NAME from VIEW into 'search'`".to_owned(),
        _ => match nearest(text, &["source", "table", "view", "sink"]) {
            Some(near) => format!("did you mean {near}?"),
            None => "there are `create source`, `create table`, `create view` and `create sink`"
                .to_owned(),
        },
    };
    Problem::new(codes::STATEMENT, span, format!("`create {text}` does not exist"), "not known")
        .with_help(help)
}

fn source(mut cursor: Cursor<'_>) -> Result<Statement, Problem> {
    const FORM: &str = "create source NAME from 'URL' (option = 'value')";
    let name = cursor.name("the source's name", FORM)?;
    if is_own(&name.name) {
        let message = format!("{} is Evert's own", name.name);
        return Err(Problem::new(codes::TAKEN, name.span, message, "taken")
            .with_help("choose another name"));
    }
    cursor.word("from", FORM)?;
    let (url, _) = cursor.string("the URL, in quotes", FORM)?;
    let options = cursor.options()?;
    cursor.finish(FORM)?;
    let spec = source_spec(&name.name, &url, options);
    Ok(Statement::Source(name, spec))
}

fn table(mut cursor: Cursor<'_>, text: &str) -> Result<Statement, Vec<Problem>> {
    let place = span_of(cursor.lexemes).unwrap_or(cursor.end..cursor.end);
    let table = session::table(cursor.lexemes, text, place)?;
    let words = ["if", "not", "exists"];
    if cursor.peek().is_some_and(|word| word.is_word(words[0])) {
        cursor.at += words.len();
    }
    let name = cursor.name("the table's name", "create table NAME (COLUMN TYPE, …)");
    let name = name.map_err(|problem| vec![problem])?;
    Ok(Statement::Table(Name { name: table.name.clone(), ..name }, Box::new(table)))
}

fn view(mut cursor: Cursor<'_>) -> Result<Statement, Vec<Problem>> {
    const FORM: &str = "create view NAME as select …  or  create view NAME as from TABLE |> …";
    let name = cursor.name("the view's name", FORM).map_err(|problem| vec![problem])?;
    cursor.word("as", FORM).map_err(|problem| vec![problem])?;
    view_statement(name, &cursor.lexemes[cursor.at..], cursor.end).map(Statement::View)
}

fn sink(mut cursor: Cursor<'_>) -> Result<Statement, Problem> {
    const FORM: &str = "create sink NAME from VIEW into 'URL' (option = 'value')";
    let mut name = cursor.name("the sink's name", FORM)?;
    cursor.word("from", FORM)?;
    let view = cursor.name("the view's name", FORM)?;
    let whole_source = cursor.peek().is_some_and(|dot| dot.token == Token::Period);
    if whole_source {
        cursor.at += 1;
        cursor.sign(&Token::Mul, FORM)?;
    }
    cursor.word("into", FORM)?;
    let (url, url_span) = cursor.string("the URL, in quotes", FORM)?;
    let options = cursor.options()?;
    cursor.finish(FORM)?;
    name.target_span = view.span;
    if whole_source {
        return Ok(Statement::Mirror(Mirror { name, source: view.name, url, url_span, options }));
    }
    let spec = sink_spec(&name.name, &view.name, &url, options);
    Ok(Statement::Sink(name, spec))
}

/// Reads a view's query.
pub(crate) fn view_statement(
    name: Name,
    lexemes: &[Lexeme],
    end: usize,
) -> Result<View, Vec<Problem>> {
    let lexemes = with_pipes(lexemes);
    let query = query(&lexemes, end)?;
    let statement = format!("create view {} as\n  {}", quoted(&name.name), format::query(&lexemes));
    let query_span = span_of(&lexemes).unwrap_or(end..end);
    let words = lexemes.into_iter().map(|lexeme| lexeme.span).collect();
    Ok(View { name, query, query_span, words, statement })
}

/// Between stages `|` means `|>`; inside of parentheses it is an operator, unless they hold a pipe of their own.
pub(crate) fn with_pipes(lexemes: &[Lexeme]) -> Vec<Lexeme> {
    // For each open bracket, whether it holds a pipe.
    let mut holds_pipe = vec![true];
    let mut after_pipe = false;
    let mut result = Vec::with_capacity(lexemes.len());
    for (index, lexeme) in lexemes.iter().enumerate() {
        let mut lexeme = lexeme.clone();
        match lexeme.nesting() {
            1 => holds_pipe.push(lexemes.get(index + 1).is_some_and(|next| next.is_word("from"))),
            -1 if holds_pipe.len() > 1 => drop(holds_pipe.pop()),
            _ => {}
        }
        if lexeme.token == Token::Pipe && holds_pipe.last() == Some(&true) {
            lexeme.token = Token::VerticalBarRightAngleBracket;
            "|>".clone_into(&mut lexeme.text);
        }
        lexeme.glued &= !after_pipe;
        after_pipe = lexeme.token == Token::VerticalBarRightAngleBracket;
        result.push(lexeme);
    }
    result
}

/// The group by which the stage `distinct` is written for sqlparser, which lacks it; no user can write it.
pub(crate) const DISTINCT_GROUP: &str = "\0distinct";

fn query(lexemes: &[Lexeme], end: usize) -> Result<Box<Query>, Vec<Problem>> {
    check_size(lexemes, end).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let mut tokens = Vec::with_capacity(lexemes.len());
    for (index, lexeme) in lexemes.iter().enumerate() {
        let begins_stage = index
            .checked_sub(1)
            .is_some_and(|before| lexemes[before].token == Token::VerticalBarRightAngleBracket);
        if begins_stage {
            problems.extend(pipe::refuse_stage(lexeme));
        }
        if begins_stage && lexeme.is_word("distinct") {
            let at = lexeme.span.start;
            let group = format!("\"{DISTINCT_GROUP}\"");
            let words = ["aggregate", "group", "by", &group];
            tokens.extend(words.map(|word| Lexeme::implied(word, at)));
        } else {
            tokens.push(lexeme.clone());
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut parser = parser(&tokens, end);
    let problem = match parser.parse_query() {
        Ok(query) => match parser.expected::<()>("the end of the query", parser.peek_token()) {
            _ if parser.peek_token().token == Token::EOF => return Ok(query),
            Ok(()) => return Ok(query),
            Err(error) => error,
        },
        Err(error) => error,
    };
    Err(vec![syntax_problem(problem, lexemes, end)])
}

pub(crate) fn check_size(lexemes: &[Lexeme], end: usize) -> Result<(), Problem> {
    let span = span_of(lexemes).unwrap_or(end..end);
    if lexemes.len() > STATEMENT_TOKENS_MAX {
        let message = format!("the query has more than {STATEMENT_TOKENS_MAX} words");
        return Err(Problem::new(codes::TOO_LARGE, span, message, "in here"));
    }
    check_operators(lexemes)
}

/// Fails when an expression nests deeper than the planner may walk.
pub(crate) fn check_operators(lexemes: &[Lexeme]) -> Result<(), Problem> {
    let mut operators = 0;
    for lexeme in lexemes {
        operators = match (&lexeme.token, lexeme.keyword()) {
            (Token::Comma | Token::VerticalBarRightAngleBracket, _)
            | (_, Some(Keyword::WHERE | Keyword::FROM | Keyword::SELECT)) => 0,
            (Token::Word(_), Some(Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::WHEN)) => {
                operators + 1
            }
            (Token::Word(_) | Token::Number(..) | Token::Period, _) => operators,
            _ => operators + 1,
        };
        if operators > OPERATORS_MAX {
            let message = format!("an expression has more than {OPERATORS_MAX} operators");
            return Err(Problem::new(codes::TOO_LARGE, lexeme.span.clone(), message, "up to here")
                .with_help("name parts of it with `extend`, or write `x in (…)`"));
        }
    }
    Ok(())
}

pub(crate) fn source_spec(name: &str, url: &str, options: BTreeMap<String, String>) -> SourceSpec {
    let statement =
        format!("create source {} from {}{}", quoted(name), literal(url), options_text(&options));
    SourceSpec { name: name.to_owned(), url: url.to_owned(), options, statement }
}

pub(crate) fn sink_spec(
    name: &str,
    view: &str,
    url: &str,
    options: BTreeMap<String, String>,
) -> SinkSpec {
    let (shown, from) = (quoted(name), quoted(view));
    let statement =
        format!("create sink {shown} from {from} into {}{}", literal(url), options_text(&options));
    SinkSpec {
        name: name.to_owned(),
        view: view.to_owned(),
        url: url.to_owned(),
        options,
        statement,
    }
}

fn options_text(options: &BTreeMap<String, String>) -> String {
    if options.is_empty() {
        return String::new();
    }
    let one = |(name, value): (&String, &String)| format!("{} = {}", option(name), literal(value));
    format!(" ({})", options.iter().map(one).collect::<Vec<_>>().join(", "))
}

impl Statement {
    /// The statement with its path taken from a directory now.
    fn from(self, base: &Path) -> Self {
        match self {
            Self::Source(name, spec) => {
                let spec = source_spec(&spec.name, &absolute(&spec.url, base), spec.options);
                Self::Source(name, spec)
            }
            Self::Sink(name, spec) => {
                let url = absolute(&spec.url, base);
                Self::Sink(name, sink_spec(&spec.name, &spec.view, &url, spec.options))
            }
            Self::Mirror(mirror) => {
                Self::Mirror(Mirror { url: absolute(&mirror.url, base), ..mirror })
            }
            Self::Table(..) | Self::View(_) => self,
        }
    }
}

impl Mirror {
    pub(crate) fn statement(&self) -> String {
        let (name, source) = (quoted(&self.name.name), quoted(&self.source));
        let options = options_text(&self.options);
        format!("create sink {name} from {source}.* into {}{options}", literal(&self.url))
    }
}

impl Script {
    /// The sources that the script creates: what must be looked into before it can be planned.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceSpec> {
        let source = |statement: &Statement| match statement {
            Statement::Source(_, spec) => Some(spec.clone()),
            Statement::Table(..)
            | Statement::View(_)
            | Statement::Sink(..)
            | Statement::Mirror(_) => None,
        };
        self.statements.iter().filter_map(source).collect()
    }

    /// The sinks that the script creates one by one; those that copy a whole source are known only when it is planned.
    #[must_use]
    pub fn sinks(&self) -> Vec<SinkSpec> {
        let sink = |statement: &Statement| match statement {
            Statement::Sink(_, spec) => Some(spec.clone()),
            Statement::Source(..)
            | Statement::Table(..)
            | Statement::View(_)
            | Statement::Mirror(_) => None,
        };
        self.statements.iter().filter_map(sink).collect()
    }

    /// The URLs of all sinks.
    #[must_use]
    pub fn sink_urls(&self) -> Vec<&str> {
        let mut urls = Vec::new();
        for statement in &self.statements {
            match statement {
                Statement::Sink(_, spec) => urls.push(spec.url.as_str()),
                Statement::Mirror(mirror) => urls.push(mirror.url.as_str()),
                Statement::Source(..) | Statement::Table(..) | Statement::View(_) => {}
            }
        }
        urls
    }

    /// The text that the user wrote.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        self.statements.iter().map(|statement| match statement {
            Statement::Source(_, spec) => spec.statement.clone(),
            Statement::Table(_, table) => table.statement.clone(),
            Statement::View(view) => view.statement.clone(),
            Statement::Sink(_, spec) => spec.statement.clone(),
            Statement::Mirror(mirror) => mirror.statement(),
        })
    }
}

impl PartialEq for Script {
    fn eq(&self, other: &Self) -> bool {
        self.texts().eq(other.texts())
    }
}

impl Eq for Script {}

/// The canonical script: it reads back as an equal one.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, text) in self.texts().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            writeln!(f, "{gap}{text};")?;
        }
        Ok(())
    }
}

/// A walk over the lexemes of a statement.
pub(crate) struct Cursor<'a> {
    pub(crate) lexemes: &'a [Lexeme],
    pub(crate) at: usize,
    pub(crate) end: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<&'a Lexeme> {
        self.lexemes.get(self.at)
    }

    fn next(&mut self) -> Option<&'a Lexeme> {
        let next = self.peek();
        self.at += 1;
        next
    }

    fn expected(&self, code: Code, what: &str, form: &str) -> Problem {
        let (found, span) = match self.peek() {
            Some(found) => (format!("`{}`", found.text), found.span.clone()),
            None => ("the end".to_owned(), self.end..self.end),
        };
        let label = format!("expected {what}");
        Problem::new(code, span, format!("{label}, found {found}"), label)
            .with_help(format!("the form is: {form}"))
    }

    fn name(&mut self, what: &str, form: &str) -> Result<Name, Problem> {
        let lexeme = self.peek().and_then(|lexeme| Some((lexeme.name()?, lexeme.span.clone())));
        let Some((name, span)) = lexeme.filter(|(name, _)| !name.is_empty()) else {
            return Err(self.expected(codes::SYNTAX, what, form));
        };
        self.at += 1;
        Ok(Name { name, target_span: span.clone(), span })
    }

    fn word(&mut self, word: &str, form: &str) -> Result<(), Problem> {
        if !self.peek().is_some_and(|lexeme| lexeme.is_word(word)) {
            return Err(self.expected(codes::SYNTAX, &format!("`{word}`"), form));
        }
        self.at += 1;
        Ok(())
    }

    fn sign(&mut self, sign: &Token, form: &str) -> Result<(), Problem> {
        if self.peek().is_none_or(|lexeme| lexeme.token != *sign) {
            return Err(self.expected(codes::SYNTAX, &format!("`{sign}`"), form));
        }
        self.at += 1;
        Ok(())
    }

    pub(crate) fn string(
        &mut self,
        what: &str,
        form: &str,
    ) -> Result<(String, Range<usize>), Problem> {
        let found = self.peek().and_then(|lexeme| Some((lexeme.string()?, lexeme.span.clone())));
        let Some((text, span)) = found else {
            return Err(self.expected(codes::SYNTAX, what, form));
        };
        self.at += 1;
        Ok((text.to_owned(), span))
    }

    /// Reads `[with] (name = value, …)`, or nothing.
    pub(crate) fn options(&mut self) -> Result<BTreeMap<String, String>, Problem> {
        const FORM: &str = "(name = 'value', …)";
        let mut options = BTreeMap::new();
        if self.peek().is_some_and(|lexeme| lexeme.is_word("with")) {
            self.at += 1;
        } else if self.peek().is_none_or(|lexeme| lexeme.token != Token::LParen) {
            return Ok(options);
        }
        self.sign(&Token::LParen, FORM)?;
        while self.peek().is_none_or(|lexeme| lexeme.token != Token::RParen) {
            let name = self.name("an option's name", FORM)?;
            self.sign(&Token::Eq, FORM)?;
            let value = self.option_value(FORM)?;
            if options.insert(name.name.to_lowercase(), value).is_some() {
                let message = format!("the option {} is there twice", name.name);
                return Err(Problem::new(codes::OPTION, name.span, message, "the second one"));
            }
            if self.peek().is_some_and(|lexeme| lexeme.token == Token::Comma) {
                self.at += 1;
            } else if self.peek().is_none_or(|lexeme| lexeme.token != Token::RParen) {
                return Err(self.expected(codes::OPTION, "`,` or `)`", FORM));
            }
        }
        self.sign(&Token::RParen, FORM)?;
        Ok(options)
    }

    fn option_value(&mut self, form: &str) -> Result<String, Problem> {
        let minus = self.peek().is_some_and(|lexeme| lexeme.token == Token::Minus);
        self.at += usize::from(minus);
        let value = self.peek().and_then(|lexeme| match &lexeme.token {
            Token::Number(number, _) if minus => Some(format!("-{number}")),
            _ if minus => None,
            Token::Number(number, _) => Some(number.clone()),
            Token::Word(_) => lexeme.name(),
            _ => lexeme.string().map(str::to_owned),
        });
        let value = value.ok_or_else(|| {
            self.expected(codes::OPTION, "a value: 'text', a number or a word", form)
        })?;
        self.at += 1;
        Ok(value)
    }

    pub(crate) fn finish(&self, form: &str) -> Result<(), Problem> {
        if self.at >= self.lexemes.len() {
            return Ok(());
        }
        Err(self.expected(codes::SYNTAX, "the end of the statement", form))
    }
}
