//! What exists before a script runs.

use std::path::PathBuf;
use std::sync::Arc;

use change::TableSchema;
use change::catalog::{catalog_table, dead_letter_table};

/// The tables that sources have, and the statements that are already in the log.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The tables of all sources. `evert.catalog` and `evert.dead_letters` need not be among them.
    pub tables: Vec<Arc<TableSchema>>,
    /// The `create source` statements in the log.
    pub sources: Vec<String>,
    /// The `create table` statements in the log.
    pub own_tables: Vec<String>,
    /// The `create view` statements in the log, each after those that it reads.
    pub views: Vec<String>,
    /// The `create sink` statements in the log.
    pub sinks: Vec<String>,
    /// The directory that paths in the script are taken from; `None` leaves them as they are written.
    pub base: Option<PathBuf>,
}

impl Catalog {
    /// All tables, Evert's own included.
    pub(crate) fn all_tables(&self) -> Vec<Arc<TableSchema>> {
        let own = [catalog_table(), dead_letter_table()];
        let missing =
            |own: &Arc<TableSchema>| !self.tables.iter().any(|table| table.name() == own.name());
        let mut tables = self.tables.clone();
        tables.extend(own.into_iter().filter(missing));
        tables
    }
}
