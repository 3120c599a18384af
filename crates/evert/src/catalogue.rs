//! What exists, read from the log: sources, their tables and states, views and sinks.
//!
//! Invariant: the catalogue is a function of the log's prefix; nothing else is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use change::catalog::{CatalogChange, Kind, catalog_table};
use change::{TableChanges, TableSchema, Time};
use log::Log;
use plan::ir::{Program, SourceSpec};
use plan::{Catalog, Problems, TableDefinition};

use crate::earlier::Forgotten;
use crate::failure::Failure;

/// The catalogue's rows at one Time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    rows: BTreeMap<(Kind, String), Row>,
    /// The tables that were there once, in the order in which they went.
    forgotten: Vec<Forgotten>,
    applied: u64,
}

/// A definition, and how many rows were set before it.
#[derive(Clone, Debug)]
struct Row {
    place: u64,
    definition: String,
}

impl Catalogue {
    /// Reads the catalogue as the log's end has it, from the frames that carry Evert's own tables alone.
    pub(crate) fn read(log: &Log) -> Result<Self, Failure> {
        Self::at(log, Time(u64::MAX))
    }

    /// Reads the catalogue as it was at a Time.
    pub(crate) fn at(log: &Log, time: Time) -> Result<Self, Failure> {
        let mut catalogue = Self::default();
        let mut reader = log.reader(Time::ZERO).only_own();
        while let Some(chunk) = reader.next()?.filter(|chunk| chunk.first <= time) {
            let upto = chunk.last.min(time);
            let count = usize::try_from(upto.0 - chunk.first.0).map_or(0, |behind| behind + 1);
            for changes in &chunk.tables {
                catalogue.apply(&changes.of_transactions(0, count), upto);
            }
        }
        Ok(catalogue)
    }

    /// Follows the changes of one table up to a Time, when it is the catalogue.
    pub(crate) fn apply(&mut self, changes: &TableChanges, upto: Time) {
        if changes.table().name() != catalog_table().name() {
            return;
        }
        let rows = changes.changes().rows();
        let text = |column: usize| rows.column(column).as_string::<i32>();
        let (kinds, names, definitions) = (text(0), text(1), text(2));
        for (row, &diff) in changes.changes().diffs().iter().enumerate() {
            // A kind of a later version means nothing to this one; its row is left alone.
            let Some(kind) = Kind::parse(kinds.value(row)) else { continue };
            let at = (kind, names.value(row).to_owned());
            if diff > 0 && definitions.is_valid(row) {
                let definition = definitions.value(row).to_owned();
                let place = self.rows.get(&at).map_or(self.applied, |row| row.place);
                self.rows.insert(at, Row { place, definition });
                self.applied += 1;
            } else {
                let before = self.rows.remove(&at).filter(|_| at.0 == Kind::Table);
                // A schema of a later version cannot be read; whoever needs the table says so.
                let table = before.and_then(|row| TableSchema::from_json(&row.definition).ok());
                let forgotten = |table| Forgotten { at: upto, table: Arc::new(table) };
                self.forgotten.extend(table.map(forgotten));
            }
        }
    }

    /// The tables that were there once, in the order in which they went.
    pub(crate) fn forgotten(&self) -> &[Forgotten] {
        &self.forgotten
    }

    /// The sources, in the order of their creation.
    pub(crate) fn sources(&self) -> Result<Vec<SourceSpec>, Problems> {
        let mut specs = Vec::new();
        for (_, statement) in self.of(Kind::Source) {
            specs.extend(plan::parse(statement)?.sources());
        }
        Ok(specs)
    }

    /// The definition of one thing.
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&str> {
        self.rows.get(&(kind, name.to_owned())).map(|row| row.definition.as_str())
    }

    /// Takes one thing away.
    pub(crate) fn remove(&mut self, kind: Kind, name: &str) {
        self.rows.remove(&(kind, name.to_owned()));
    }

    /// The names and definitions of one kind, in the order of their creation.
    pub(crate) fn of(&self, wanted: Kind) -> Vec<(&str, &str)> {
        let rows = self.rows.iter().filter(|((kind, _), _)| *kind == wanted);
        let mut rows: Vec<_> = rows.map(|((_, name), row)| (name.as_str(), row)).collect();
        rows.sort_by_key(|(_, row)| row.place);
        rows.into_iter().map(|(name, row)| (name, row.definition.as_str())).collect()
    }

    /// The statements and tables as the planner wants to see them.
    pub(crate) fn for_planner(&self, tables: Vec<Arc<TableSchema>>) -> Catalog {
        let statements =
            |kind| self.of(kind).into_iter().map(|(_, text)| text.to_owned()).collect();
        Catalog {
            tables,
            sources: statements(Kind::Source),
            own_tables: statements(Kind::TableStatement),
            views: statements(Kind::View),
            sinks: statements(Kind::Sink),
            // The next run may be in another directory, and is to find the same files.
            base: std::env::current_dir().ok(),
        }
    }

    /// Plans everything that the catalogue holds.
    pub(crate) fn program(&self, tables: Vec<Arc<TableSchema>>) -> Result<Program, Problems> {
        plan::plan(&plan::parse("")?, &self.for_planner(tables))
    }

    /// The tables of all sources, by name.
    pub(crate) fn tables(&self) -> Result<Vec<Arc<TableSchema>>, Failure> {
        let read = |(name, json): (&str, &str)| {
            TableSchema::from_json(json).map(Arc::new).map_err(|error| Failure::Usage {
                what: format!("the schema of table {name} in the log cannot be read: {error}"),
                help: "the log was written by a later version of Evert; run that one".to_owned(),
            })
        };
        self.of(Kind::Table).into_iter().map(read).collect()
    }

    /// The tables of one source, by name.
    pub(crate) fn tables_of(&self, source: &str) -> Result<Vec<Arc<TableSchema>>, Failure> {
        let mut tables = self.tables()?;
        tables.retain(|table| &*table.name().source == source);
        Ok(tables)
    }

    /// The changes that are not there yet.
    pub(crate) fn missing(&self, wanted: Vec<CatalogChange>) -> Vec<CatalogChange> {
        let there = |change: &CatalogChange| {
            self.get(change.kind, &change.name) == change.definition.as_deref()
        };
        wanted.into_iter().filter(|change| !there(change)).collect()
    }
}

/// The views that a change of the catalogue brings (true) or takes away, in its order; none when it is of another
/// table.
pub(crate) fn view_changes(changes: &TableChanges) -> Vec<(String, bool)> {
    if changes.table().name() != catalog_table().name() {
        return Vec::new();
    }
    let rows = changes.changes().rows();
    let text = |column: usize| rows.column(column).as_string::<i32>();
    let (kinds, names, definitions) = (text(0), text(1), text(2));
    let is_view = |row: &usize| Kind::parse(kinds.value(*row)) == Some(Kind::View);
    let diffs = changes.changes().diffs();
    let comes = |row: usize| diffs[row] > 0 && definitions.is_valid(row);
    let rows = (0..diffs.len()).filter(is_view);
    rows.map(|row| (names.value(row).to_owned(), comes(row))).collect()
}

/// The catalogue rows of a table of Evert's own.
pub(crate) fn own_table_rows(table: &TableDefinition) -> [CatalogChange; 2] {
    let definition = Some(table.statement.clone());
    let statement =
        CatalogChange { kind: Kind::TableStatement, name: table.name.clone(), definition };
    [table_row(&table.schema()), statement]
}

/// The catalogue row of a table.
pub(crate) fn table_row(table: &TableSchema) -> CatalogChange {
    let name = table.name().to_string();
    CatalogChange { kind: Kind::Table, name, definition: Some(table.to_json()) }
}
