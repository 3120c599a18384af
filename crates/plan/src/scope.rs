//! The columns that a place in a query can name.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{Expr, Ident};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::codes;
use crate::lex::bytes_of;
use crate::name::quoted;
use crate::problem::{Problem, suggest};
use crate::tables::Tables;

/// A column, and the table it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// The parts of the table's name, or its alias; empty for a computed column.
    pub(crate) path: Vec<String>,
    pub(crate) name: String,
    /// Where it was written, for a column of a select list.
    pub(crate) span: Option<Range<usize>>,
    /// Whether USING made another column stand for it.
    pub(crate) merged: bool,
}

impl Column {
    pub(crate) fn new(path: Vec<String>, name: String) -> Self {
        Self { path, name, span: None, merged: false }
    }

    /// The column as DataFusion knows it.
    pub(crate) fn expression(&self, span: Span) -> Expr {
        let name = exact(&self.name, span);
        if self.path.is_empty() {
            return Expr::Identifier(name);
        }
        Expr::CompoundIdentifier(vec![exact(&Tables::key(&self.path), span), name])
    }
}

/// An identifier that is taken as it is.
pub(crate) fn exact(name: &str, span: Span) -> Ident {
    Ident { value: name.to_owned(), quote_style: Some('"'), span }
}

/// The name that an identifier stands for: unquoted ones in lower case.
pub(crate) fn meant(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The columns of all tables that a query has joined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) columns: Vec<Column>,
    /// Whether a table is unknown, so that a column may be one of it.
    pub(crate) open: bool,
}

impl Scope {
    pub(crate) fn append(&mut self, other: Self) {
        self.columns.extend(other.columns);
        self.open |= other.open;
    }

    /// The columns that `*` stands for.
    pub(crate) fn visible(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.merged)
    }

    /// The columns that `table.*` stands for.
    pub(crate) fn of_table(&self, table: &[String]) -> Vec<&Column> {
        self.columns.iter().filter(|column| column.path.ends_with(table)).collect()
    }

    pub(crate) fn has_table(&self, path: &[String]) -> bool {
        self.columns.iter().any(|column| column.path == path)
    }

    /// Finds a column by its name, with or without its table's.
    ///
    /// Returns `Ok(None)` when it may be a column of an unknown table, which has its own problem.
    pub(crate) fn find(
        &self,
        idents: &[Ident],
        whole: &Range<usize>,
    ) -> Result<Option<&Column>, Problem> {
        let Some((last, table)) = idents.split_last() else {
            return Ok(None);
        };
        let (name, table): (_, Vec<_>) = (meant(last), table.iter().map(meant).collect());
        let found: Vec<_> = self
            .columns
            .iter()
            .filter(|column| column.name == name && column.path.ends_with(&table))
            .filter(|column| !column.merged || !table.is_empty())
            .collect();
        match found.as_slice() {
            [column] => Ok(Some(column)),
            [] => self.unknown(idents, &name, &table, whole),
            several => Err(ambiguous(span_of(idents, whole), &name, several)),
        }
    }

    fn unknown(
        &self,
        idents: &[Ident],
        name: &str,
        table: &[String],
        whole: &Range<usize>,
    ) -> Result<Option<&Column>, Problem> {
        let of_table = self.of_table(table);
        if self.open && (table.is_empty() || of_table.is_empty()) {
            return Ok(None);
        }
        let span = span_of(idents, whole);
        if of_table.is_empty() && !table.is_empty() {
            let shown = table.join(".");
            let tables: Vec<_> = self
                .columns
                .iter()
                .filter_map(|column| column.path.last())
                .map(|table| quoted(table))
                .collect();
            let message = format!("there is no table {shown} in this query");
            let help = suggest(&shown, tables.iter().map(String::as_str), "the query reads");
            return Err(Problem {
                help,
                ..Problem::new(codes::COLUMN, span, message, "not read here")
            });
        }
        let names: Vec<_> = of_table.iter().map(|column| quoted(&column.name)).collect();
        let help = suggest(name, names.iter().map(String::as_str), "the columns are");
        let message = match table {
            [] => format!("there is no column {name}"),
            table => format!("{} has no column {name}", table.join(".")),
        };
        Err(Problem { help, ..Problem::new(codes::COLUMN, span, message, "not known") })
    }
}

fn ambiguous(span: Range<usize>, name: &str, found: &[&Column]) -> Problem {
    let shown = |column: &&Column| match column.path.last() {
        Some(table) => format!("{}.{}", quoted(table), quoted(name)),
        None => quoted(name),
    };
    let ways: Vec<_> = found.iter().map(shown).collect();
    let message = format!("{} columns are named {name}", found.len());
    Problem::new(codes::COLUMN, span, message, "which one?")
        .with_help(format!("write {}", ways.join(" or ")))
}

/// The bytes that identifiers cover; `whole` for implied ones.
pub(crate) fn span_of(idents: &[Ident], whole: &Range<usize>) -> Range<usize> {
    let first = idents.first().and_then(|ident| bytes_of(ident.span));
    let last = idents.last().and_then(|ident| bytes_of(ident.span));
    match (first, last) {
        (Some(first), Some(last)) => first.start..last.end,
        _ => whole.clone(),
    }
}
