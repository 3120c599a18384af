//! `evert.errors`: the rows that views lack because they could not be computed.
//!
//! They are a collection like any view's and move with the views, at the same Time: a row is there as long as its cause
//! is. Nobody names it in a script, so it stands behind all views and is not listed among them.
//!
//! Invariant: a view's count is the sum of its rows' counts, and neither is ever below zero.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use change::ChangeBatch;

use crate::snapshot::Shown;
use crate::store::{ViewInfo, place};

/// The name by which the rows that views lack are read.
pub const ERRORS: &str = "evert.errors";

/// The columns of [`ERRORS`], of which all but the last are its key.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let count = Field::new("count", DataType::Int64, true);
    let texts = ["view", "expression", "row", "message"].map(text);
    Arc::new(Schema::new(texts.into_iter().chain([count]).collect::<Vec<_>>()))
});

/// A row that a view lacks because it could not be computed, and how often more, or less, than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// The view, by its number.
    pub view: usize,
    /// What could not be computed.
    pub expression: String,
    /// Of which row: the columns that it is computed from, as a JSON object.
    pub row: String,
    /// Why.
    pub message: String,
    /// How often more than before.
    pub diff: i64,
}

/// How many rows a view lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The view.
    pub view: String,
    /// How many of its rows could not be computed.
    pub rows: u64,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { view, rows } = self;
        let plural = if *rows == 1 { "" } else { "s" };
        write!(f, "view {view} lacks {rows} row{plural} that could not be computed; see {ERRORS}")
    }
}

/// What is known of [`ERRORS`].
#[must_use]
pub fn errors_info() -> ViewInfo {
    let (name, schema) = (ERRORS.to_owned(), Arc::clone(&SCHEMA));
    ViewInfo { name, schema, key: vec![0, 1, 2, 3], order: Vec::new() }
}

/// View, expression, row and message.
type Identity = (usize, String, String, String);

fn identity(error: &RowError) -> Identity {
    let RowError { view, expression, row, message, .. } = error;
    (*view, expression.clone(), row.clone(), message.clone())
}

/// How often each row is lacked, as the writer holds it.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    counts: BTreeMap<Identity, i64>,
}

/// Rows of [`ERRORS`] that come and go.
#[derive(Default)]
struct Rows {
    texts: [StringBuilder; 4],
    counts: Vec<i64>,
    diffs: Vec<i64>,
}

impl Errors {
    /// Adds what has changed; returns the rows of [`ERRORS`] that come and go, and moves the sums of the views shown.
    pub(crate) fn apply(
        &mut self,
        changes: Vec<RowError>,
        views: &mut [Shown],
    ) -> Result<ChangeBatch, ArrowError> {
        let mut before: BTreeMap<Identity, i64> = BTreeMap::new();
        for change in changes {
            let identity = identity(&change);
            let count = self.counts.get(&identity).copied().unwrap_or_default();
            before.entry(identity).or_insert(count);
            self.add(change);
        }
        let mut rows = Rows::default();
        for (identity, before) in before {
            let after = self.counts.get(&identity).copied().unwrap_or_default();
            // Less than nothing is not shown; it is the half of a change whose other half comes.
            let shown = |count: i64| u64::try_from(count).unwrap_or_default();
            let (before, after) = (shown(before), shown(after));
            let at = place(views, identity.0).expect("a view that lacks rows is shown");
            let view = &mut views[at];
            view.lacking = view.lacking - before + after;
            if before != after {
                rows.push(&view.rows.info.name, &identity, before, -1);
                rows.push(&view.rows.info.name, &identity, after, 1);
            }
        }
        rows.finish()
    }

    /// Adds a change of one row.
    pub(crate) fn add(&mut self, change: RowError) {
        let RowError { view, expression, row, message, diff } = change;
        let identity = (view, expression, row, message);
        let count = self.counts.get(&identity).copied().unwrap_or_default();
        match count + diff {
            0 => drop(self.counts.remove(&identity)),
            count => drop(self.counts.insert(identity, count)),
        }
    }

    /// The rows that a view lacks.
    pub(crate) fn rows(&self, view: usize) -> impl Iterator<Item = RowError> + '_ {
        let of_view = self.counts.iter().filter(move |(identity, _)| identity.0 == view);
        of_view.map(|((view, expression, row, message), &diff)| RowError {
            view: *view,
            expression: expression.clone(),
            row: row.clone(),
            message: message.clone(),
            diff,
        })
    }

    /// The changes by which a view lacks nothing any more.
    pub(crate) fn negated(&self, view: usize) -> Vec<RowError> {
        self.rows(view).map(|error| RowError { diff: -error.diff, ..error }).collect()
    }
}

impl Rows {
    fn push(&mut self, view: &str, identity: &Identity, count: u64, diff: i64) {
        if count == 0 {
            return;
        }
        let (_, expression, row, message) = identity;
        let texts = [view, expression.as_str(), row.as_str(), message.as_str()];
        for (builder, text) in self.texts.iter_mut().zip(texts) {
            builder.append_value(text);
        }
        self.counts.push(i64::try_from(count).unwrap_or(i64::MAX));
        self.diffs.push(diff);
    }

    fn finish(self) -> Result<ChangeBatch, ArrowError> {
        let texts = self.texts.map(|mut text| Arc::new(text.finish()) as ArrayRef);
        let counts: ArrayRef = Arc::new(Int64Array::from(self.counts));
        let columns = texts.into_iter().chain([counts]).collect();
        let rows = RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?;
        Ok(ChangeBatch::new(rows, Int64Array::from(self.diffs)))
    }
}
