//! The catalogue: what exists, as rows of a table in the log like any other.
//!
//! `evert.catalog(kind, name, definition)`, keyed by kind and name. What runs is derived from it, so there is no second
//! place that can disagree.

use std::sync::{Arc, LazyLock};

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use crate::{ChangeBatch, ChangeForm, TableChanges, TableName, TableSchema};

/// The source name of Evert's own tables.
pub const OWN_SOURCE: &str = "evert";

/// The source name of the tables that users create in Evert itself; PostgreSQL's name for where they would be.
pub const TABLES_SOURCE: &str = "public";

/// What a row of the catalogue describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `create source …`; the definition is the statement.
    Source,
    /// What a source found and must find again (system id, timeline, slot); the definition is its own JSON.
    SourceState,
    /// A source's table; the definition is its schema as JSON.
    Table,
    /// `create table …`; the definition is the statement, which says what a schema leaves out.
    TableStatement,
    /// `create view …`; the definition is the statement.
    View,
    /// `create sink …`; the definition is the statement.
    Sink,
}

impl Kind {
    /// The kind as it is written in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::SourceState => "source_state",
            Self::Table => "table",
            Self::TableStatement => "table_statement",
            Self::View => "view",
            Self::Sink => "sink",
        }
    }

    /// Reads a kind as it is written in the table.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        const KINDS: [Kind; 6] = [
            Kind::Source,
            Kind::SourceState,
            Kind::Table,
            Kind::TableStatement,
            Kind::View,
            Kind::Sink,
        ];
        KINDS.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A row of the catalogue to set (`Some` definition) or remove (`None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogChange {
    /// What it describes.
    pub kind: Kind,
    /// The name, unique within the kind.
    pub name: String,
    /// The definition; `None` removes the row.
    pub definition: Option<String>,
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

/// The schema of `evert.catalog`.
#[must_use]
pub fn catalog_table() -> Arc<TableSchema> {
    static TABLE: LazyLock<Arc<TableSchema>> = LazyLock::new(|| {
        let columns = Schema::new(vec![text("kind"), text("name"), text("definition")]);
        let name = TableName::new(OWN_SOURCE, "catalog");
        Arc::new(TableSchema::new(name, Arc::new(columns), vec![0, 1], ChangeForm::Upsert))
    });
    Arc::clone(&TABLE)
}

/// The schema of `evert.dead_letters(source, table, place, reason, raw)`: input that could not be taken in.
#[must_use]
pub fn dead_letter_table() -> Arc<TableSchema> {
    static TABLE: LazyLock<Arc<TableSchema>> = LazyLock::new(|| {
        let columns = ["source", "table", "place", "reason", "raw"].map(text).to_vec();
        let name = TableName::new(OWN_SOURCE, "dead_letters");
        Arc::new(TableSchema::new(
            name,
            Arc::new(Schema::new(columns)),
            Vec::new(),
            ChangeForm::Exact,
        ))
    });
    Arc::clone(&TABLE)
}

/// Turns catalogue changes into the table changes of one transaction.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn catalog_changes(changes: &[CatalogChange]) -> TableChanges {
    assert!(!changes.is_empty(), "a catalogue transaction changes something");
    let column = |of: &dyn Fn(&CatalogChange) -> Option<String>| {
        Arc::new(changes.iter().map(of).collect::<StringArray>())
    };
    let table = catalog_table();
    let rows = RecordBatch::try_new(
        Arc::clone(table.columns()),
        vec![
            column(&|change| Some(change.kind.as_str().to_owned())),
            column(&|change| Some(change.name.clone())),
            column(&|change| change.definition.clone()),
        ],
    )
    .expect("three text columns of equal length");
    let diffs = changes.iter().map(|change| if change.definition.is_some() { 1 } else { -1 });
    let end = u32::try_from(changes.len()).expect("a catalogue transaction is small");
    let batch = ChangeBatch::new(rows, diffs.collect());
    TableChanges::new(table, batch, vec![end], Vec::new())
}
