//! `create table`: the columns, keys and defaults of a table that Evert owns.
//!
//! The log's table schema says what columns there are. What only a writer must know (which columns may not be NULL,
//! what a left-out column gets, how long a text may be) stays in the statement, which the catalogue keeps.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};
use change::catalog::TABLES_SOURCE;
use change::{ChangeForm, TableName, TableSchema, with_logical_type};
use datafusion::sql::sqlparser::ast::{
    self, CharacterLength, ColumnDef, ColumnOption, CreateTable, CreateTableOptions,
    ExactNumberInfo, Expr, IndexColumn, Spanned, SqlOption, TableConstraint, TimezoneInfo,
};

use crate::codes;
use crate::history::{HISTORY, History};
use crate::lex::bytes_of;
use crate::problem::{Problem, suggest};
use crate::session::{ident, last_name};

/// The most digits of a number that fits 128 bits.
const DECIMAL128_DIGITS_MAX: u64 = 38;

/// A table that Evert owns.
#[derive(Clone, Debug)]
pub struct TableDefinition {
    /// Its name, without the source.
    pub name: String,
    /// Its columns.
    pub columns: Vec<ColumnDefinition>,
    /// The columns of its primary key, ascending; empty when there is none.
    pub key: Vec<usize>,
    /// The columns of each further `unique` constraint, ascending.
    pub unique: Vec<Vec<usize>>,
    /// How long its history is kept, when the statement says so.
    pub history: Option<History>,
    /// The statement, as the catalogue keeps it.
    pub statement: String,
}

/// A column of a table that Evert owns.
#[derive(Clone, Debug)]
pub struct ColumnDefinition {
    /// Its name and type.
    pub field: Field,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// The most letters of a text; `None` for any number.
    pub letters_max: Option<u64>,
    pub(crate) default: Option<Expr>,
}

/// A type of PostgreSQL as a column has it.
struct ColumnType {
    data_type: DataType,
    logical: Option<String>,
    letters_max: Option<u64>,
}

impl TableDefinition {
    /// What the log and the planner know of the table. Its changes are exact: a writer knows the rows that it changes.
    #[must_use]
    pub fn schema(&self) -> TableSchema {
        let fields: Vec<Field> = self.columns.iter().map(|column| column.field.clone()).collect();
        let name = TableName::new(TABLES_SOURCE, &self.name);
        TableSchema::new(name, Arc::new(Schema::new(fields)), self.key.clone(), ChangeForm::Exact)
    }

    /// The columns of each key: the primary one, and those that are unique.
    pub fn keys(&self) -> impl Iterator<Item = &Vec<usize>> {
        let unique = self.unique.iter().enumerate();
        let unique = unique.filter(|(at, key)| {
            **key != self.key && !self.unique.iter().take(*at).any(|before| before == *key)
        });
        let all = std::iter::once(&self.key).chain(unique.map(|(_, key)| key));
        all.filter(|key| !key.is_empty())
    }

    /// The place of a column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.field.name() == name)
    }

    pub(crate) fn new(
        create: &CreateTable,
        statement: &str,
        whole: &Range<usize>,
    ) -> Result<Self, Vec<Problem>> {
        let mut reading = Reading { whole, problems: Vec::new() };
        let name = last_name(&create.name).unwrap_or_default();
        if create.query.is_some() || create.like.is_some() || create.temporary {
            reading.refuse(whole, "`create table` takes columns and keys only");
        }
        if create.columns.is_empty() {
            reading.refuse(whole, "a table has at least one column");
        }
        let mut table = Self {
            name,
            columns: Vec::new(),
            key: Vec::new(),
            unique: Vec::new(),
            history: None,
            statement: statement.trim().to_owned(),
        };
        reading.options(&create.table_options, &mut table);
        for column in &create.columns {
            reading.column(column, &mut table);
        }
        for constraint in &create.constraints {
            reading.constraint(constraint, &mut table);
        }
        for &column in &table.key {
            table.columns[column].not_null = true;
        }
        if reading.problems.is_empty() { Ok(table) } else { Err(reading.problems) }
    }
}

/// The problems of a statement that is being read.
struct Reading<'a> {
    whole: &'a Range<usize>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn refuse(&mut self, span: &Range<usize>, message: &str) {
        let problem = Problem::new(codes::CLAUSE, span.clone(), message, "not supported");
        self.problems.push(problem.with_help(
            "the form is: create table NAME (COLUMN TYPE [primary key] [not null] [unique] \
             [default VALUE], …) [with (history = '7 days')]",
        ));
    }

    fn options(&mut self, options: &CreateTableOptions, table: &mut TableDefinition) {
        let options = match options {
            CreateTableOptions::None => return,
            CreateTableOptions::With(options) => options,
            _ => return self.refuse(self.whole, "`create table` has options of the form with (…)"),
        };
        for option in options {
            let SqlOption::KeyValue { key, value } = option else {
                self.refuse(self.whole, "an option of `create table` is a name and a value");
                continue;
            };
            if ident(key) != HISTORY {
                self.refuse(self.whole, &format!("`create table` has no option {key}"));
                continue;
            }
            let text = match value {
                Expr::Value(value) => value.clone().into_string(),
                _ => None,
            };
            table.history = text.and_then(|text| History::parse(&text));
            if table.history.is_none() {
                self.refuse(self.whole, History::FORM);
            }
        }
    }

    fn place(&self, node: &impl Spanned) -> Range<usize> {
        bytes_of(node.span()).unwrap_or_else(|| self.whole.clone())
    }

    fn column(&mut self, column: &ColumnDef, table: &mut TableDefinition) {
        let name = ident(&column.name);
        let span = bytes_of(column.name.span).unwrap_or_else(|| self.whole.clone());
        if table.column(&name).is_some() {
            let message = format!("there are two columns named {name}");
            let problem = Problem::new(codes::DUPLICATE, span.clone(), message, "the second one");
            self.problems.push(problem);
        }
        let Some(found) = column_type(&column.data_type) else {
            let message = format!("a column cannot have the type {}", column.data_type);
            let problem = Problem::new(codes::TYPE, span, message, "not a column's type");
            self.problems.push(problem.with_help("the types are listed in docs/sql.md"));
            return;
        };
        let place = table.columns.len();
        let field = Field::new(name, found.data_type, true);
        let field = match &found.logical {
            Some(logical) => with_logical_type(field, logical),
            None => field,
        };
        let mut read = ColumnDefinition {
            field,
            not_null: false,
            letters_max: found.letters_max,
            default: None,
        };
        for option in &column.options {
            match &option.option {
                ColumnOption::Null => {}
                ColumnOption::NotNull => read.not_null = true,
                ColumnOption::Default(value) => read.default = Some(value.clone()),
                ColumnOption::PrimaryKey(_) => self.key(vec![place], &span, table),
                ColumnOption::Unique(_) => table.unique.push(vec![place]),
                other => self.refuse(&span, &format!("a column cannot have `{other}`")),
            }
        }
        table.columns.push(read);
    }

    fn key(&mut self, key: Vec<usize>, span: &Range<usize>, table: &mut TableDefinition) {
        if !table.key.is_empty() {
            self.refuse(span, "a table has one primary key");
        }
        table.key = key;
    }

    fn constraint(&mut self, constraint: &TableConstraint, table: &mut TableDefinition) {
        match constraint {
            TableConstraint::PrimaryKey(key) => {
                let columns = self.columns(&key.columns, table);
                self.key(columns, &self.whole.clone(), table);
            }
            TableConstraint::Unique(unique) => {
                let columns = self.columns(&unique.columns, table);
                table.unique.push(columns);
            }
            other => self.refuse(&self.whole.clone(), &format!("a table cannot have `{other}`")),
        }
    }

    fn columns(&mut self, columns: &[IndexColumn], table: &TableDefinition) -> Vec<usize> {
        let mut places = Vec::new();
        for column in columns {
            let Expr::Identifier(name) = &column.column.expr else {
                self.refuse(&self.place(&column.column.expr), "a key is made of columns");
                continue;
            };
            let wanted = ident(name);
            match table.column(&wanted) {
                Some(place) => places.push(place),
                None => {
                    let names = table.columns.iter().map(|column| column.field.name().as_str());
                    let help = suggest(&wanted, names, "there are");
                    let message = format!("there is no column {wanted}");
                    let span = self.place(&column.column.expr);
                    let problem = Problem::new(codes::COLUMN, span, message, "not known");
                    self.problems.push(Problem { help, ..problem });
                }
            }
        }
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// The Arrow type of a column's type; `None` when a table cannot have it.
fn column_type(written: &ast::DataType) -> Option<ColumnType> {
    use ast::DataType as Sql;
    let plain = |data_type| Some(ColumnType { data_type, logical: None, letters_max: None });
    let logical = |data_type, logical: &str| {
        Some(ColumnType { data_type, logical: Some(logical.to_owned()), letters_max: None })
    };
    let zone_is =
        |zone: &TimezoneInfo| matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz);
    match written {
        Sql::Bool | Sql::Boolean => plain(DataType::Boolean),
        Sql::SmallInt(None) | Sql::Int2(None) => plain(DataType::Int16),
        Sql::Int(None) | Sql::Integer(None) | Sql::Int4(None) => plain(DataType::Int32),
        Sql::BigInt(None) | Sql::Int8(None) => plain(DataType::Int64),
        Sql::Real | Sql::Float4 => plain(DataType::Float32),
        Sql::Float(ExactNumberInfo::Precision(bits)) if *bits <= 24 => plain(DataType::Float32),
        Sql::Float8 | Sql::DoublePrecision | Sql::Float(_) | Sql::Double(ExactNumberInfo::None) => {
            plain(DataType::Float64)
        }
        Sql::Numeric(info) | Sql::Decimal(info) | Sql::Dec(info) => Some(decimal(info)),
        Sql::Text => plain(DataType::Utf8),
        Sql::Varchar(length) | Sql::CharacterVarying(length) | Sql::CharVarying(length) => {
            let letters_max = match length {
                Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
                Some(CharacterLength::Max) | None => None,
            };
            Some(ColumnType { data_type: DataType::Utf8, logical: None, letters_max })
        }
        Sql::Uuid => logical(DataType::Utf8, "uuid"),
        Sql::JSON => logical(DataType::Utf8, "json"),
        Sql::JSONB => logical(DataType::Utf8, "jsonb"),
        Sql::Bytea => plain(DataType::Binary),
        Sql::Date => plain(DataType::Date32),
        Sql::Time(_, zone) if !zone_is(zone) => plain(DataType::Time64(TimeUnit::Microsecond)),
        Sql::Timestamp(_, zone) => {
            let zone = zone_is(zone).then(|| Arc::from("UTC"));
            plain(DataType::Timestamp(TimeUnit::Microsecond, zone))
        }
        Sql::Interval { fields: None, .. } => plain(DataType::Interval(IntervalUnit::MonthDayNano)),
        Sql::Array(ast::ArrayElemTypeDef::SquareBracket(item, _)) => {
            let item = column_type(item)?;
            if item.letters_max.is_some() || matches!(item.data_type, DataType::List(_)) {
                return None;
            }
            Some(ColumnType {
                data_type: DataType::List(Arc::new(Field::new("item", item.data_type, true))),
                logical: item.logical.map(|logical| format!("{logical}[]")),
                letters_max: None,
            })
        }
        _ => None,
    }
}

fn decimal(info: &ExactNumberInfo) -> ColumnType {
    let unbound = ColumnType {
        data_type: DataType::Decimal256(76, 18),
        logical: Some("numeric".to_owned()),
        letters_max: None,
    };
    let (precision, scale) = match info {
        ExactNumberInfo::None => return unbound,
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(digits), Ok(places))
            if (1..=DECIMAL128_DIGITS_MAX).contains(&precision)
                && places >= 0
                && scale.unsigned_abs() <= precision =>
        {
            let data_type = DataType::Decimal128(digits, places);
            ColumnType { data_type, logical: None, letters_max: None }
        }
        _ => unbound,
    }
}
