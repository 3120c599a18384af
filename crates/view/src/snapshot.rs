//! All views at one Time, for as long as somebody reads them.

use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::compute::{SortOptions, interleave_record_batch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use bytes::Bytes;
use change::Time;
use change::order::{SPAN, ordered};

use crate::error::ViewError;
use crate::errors::Lacking;
use crate::limits::BATCH_ROWS;
use crate::page::Page;
use crate::store::ViewInfo;
use crate::subscribe::Line;
use crate::{json, text};

/// A consistent read of all views at one Time. Cloning it costs one reference; it never changes.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The Time that every view is exact at.
    pub time: Time,
    /// The views by their numbers, ascending, and behind them what is not listed among them.
    pub(crate) views: Arc<[Shown]>,
}

/// How many there are behind all views: the rows that they lack, and damage of the log.
pub(crate) const HIDDEN: usize = 2;

/// One view of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// What names it as long as it is there.
    pub(crate) number: usize,
    pub(crate) rows: Arc<ViewRows>,
    /// How many rows it lacks.
    pub(crate) lacking: u64,
    /// Where its changes go.
    pub(crate) line: Arc<Line>,
}

/// The rows of one view at one Time.
#[derive(Debug)]
pub(crate) struct ViewRows {
    pub(crate) info: Arc<ViewInfo>,
    pub(crate) pages: Vec<Arc<Page>>,
    pub(crate) row_count: u64,
    /// The rows as a JSON array: readers who come at the same Time share one copy.
    pub(crate) json: OnceLock<Bytes>,
}

impl Snapshot {
    /// The views, in the order in which they were created.
    pub fn views(&self) -> impl Iterator<Item = &Arc<ViewInfo>> {
        self.views.iter().take(self.views.len() - HIDDEN).map(|view| &view.rows.info)
    }

    /// How many rows the view lacks, because they could not be computed.
    ///
    /// # Errors
    /// When there is no such view.
    pub fn lacking_rows(&self, view: &str) -> Result<u64, ViewError> {
        Ok(self.shown(view)?.lacking)
    }

    /// Those of the views named that lack rows.
    pub fn lacking<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<Lacking> {
        let lacking = names.into_iter().map(|view| {
            let rows = self.lacking_rows(view).unwrap_or_default();
            Lacking { view: view.to_owned(), rows }
        });
        lacking.filter(|lacking| lacking.rows > 0).collect()
    }

    /// What is known of a view.
    ///
    /// # Errors
    /// When there is no such view.
    pub fn info(&self, view: &str) -> Result<&Arc<ViewInfo>, ViewError> {
        Ok(&self.view(view)?.info)
    }

    /// The view's rows in the order that its query declares; then, or else, by key, or by all columns.
    ///
    /// # Errors
    /// When there is no such view.
    pub fn rows(&self, view: &str) -> Result<Vec<RecordBatch>, ViewError> {
        Ok(self.view(view)?.ordered(usize::MAX)?)
    }

    /// The first `limit` of the view's [rows](Self::rows).
    ///
    /// # Errors
    /// When there is no such view.
    pub fn first_rows(&self, view: &str, limit: usize) -> Result<Vec<RecordBatch>, ViewError> {
        Ok(self.view(view)?.ordered(limit)?)
    }

    /// How many rows the view has, equal ones counted each.
    ///
    /// # Errors
    /// When there is no such view.
    pub fn row_count(&self, view: &str) -> Result<u64, ViewError> {
        Ok(self.view(view)?.row_count)
    }

    /// The memory that the view's rows hold, in bytes.
    ///
    /// # Errors
    /// When there is no such view.
    pub fn bytes(&self, view: &str) -> Result<usize, ViewError> {
        Ok(self.view(view)?.pages.iter().map(|page| page.bytes()).sum())
    }

    /// The view's [rows](Self::rows) as one JSON array, encoded once for all who ask before the view changes.
    ///
    /// # Errors
    /// When there is no such view.
    pub fn json(&self, view: &str) -> Result<Bytes, ViewError> {
        let view = self.view(view)?;
        if let Some(json) = view.json.get() {
            return Ok(json.clone());
        }
        let json = Bytes::from(json::to_array(&view.ordered(usize::MAX)?));
        Ok(view.json.get_or_init(|| json).clone())
    }

    /// The view's [rows](Self::rows) as CSV with a header.
    ///
    /// # Errors
    /// When there is no such view.
    pub fn csv(&self, view: &str) -> Result<Vec<u8>, ViewError> {
        let view = self.view(view)?;
        Ok(text::to_csv(&view.info.schema, &view.ordered(usize::MAX)?))
    }

    pub(crate) fn view(&self, name: &str) -> Result<&Arc<ViewRows>, ViewError> {
        Ok(&self.shown(name)?.rows)
    }

    pub(crate) fn shown(&self, name: &str) -> Result<&Shown, ViewError> {
        self.views.iter().find(|view| view.rows.info.name == name).ok_or_else(|| {
            ViewError::UnknownView {
                name: name.to_owned(),
                known: self.views().map(|info| info.name.clone()).collect(),
            }
        })
    }
}

impl ViewRows {
    /// The first `limit` rows in the view's order, in batches.
    pub(crate) fn ordered(&self, limit: usize) -> Result<Vec<RecordBatch>, ArrowError> {
        let keys = sort_keys(&self.info, self.pages.iter().map(|page| page.rows()))?;
        let compare = |a: &(u32, u32), b: &(u32, u32)| {
            let row = |&(page, slot): &(u32, u32)| keys[page as usize].row(slot as usize);
            row(a).cmp(&row(b))
        };
        let mut places: Vec<(u32, u32)> = Vec::new();
        for (number, page) in (0u32..).zip(&self.pages) {
            places.extend(page.slots().map(|slot| (number, slot)));
        }
        if limit == 0 {
            places.clear();
        } else if limit < places.len() {
            places.select_nth_unstable_by(limit - 1, compare);
            places.truncate(limit);
        }
        places.sort_unstable_by(compare);
        let pages: Vec<&RecordBatch> = self.pages.iter().map(|page| page.rows()).collect();
        let batch = |places: &[(u32, u32)]| {
            let places: Vec<(usize, usize)> =
                places.iter().map(|&(page, slot)| (page as usize, slot as usize)).collect();
            interleave_record_batch(&pages, &places)
        };
        places.chunks(BATCH_ROWS).map(batch).collect()
    }
}

/// Rows in the order in which those of the view are shown.
pub(crate) fn in_order(info: &ViewInfo, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let keys = sort_keys(info, std::iter::once(rows))?;
    let mut places: Vec<usize> = (0..rows.num_rows()).collect();
    places.sort_by_key(|&row| keys[0].row(row));
    let places: Vec<(usize, usize)> = places.into_iter().map(|row| (0, row)).collect();
    interleave_record_batch(&[rows], &places)
}

/// For every batch, rows whose bytes compare as the view's rows are to be shown: intervals by their lengths, and as
/// they are written where that breaks ties.
fn sort_keys<'a>(
    info: &ViewInfo,
    batches: impl Iterator<Item = &'a RecordBatch>,
) -> Result<Vec<Rows>, ArrowError> {
    let mut columns: Vec<(usize, SortOptions)> =
        info.order.iter().map(|key| (key.column, key.options)).collect();
    let declared = columns.len();
    let rest: Vec<usize> = match info.key.as_slice() {
        [] => (0..info.schema.fields().len()).collect(),
        key => key.to_vec(),
    };
    columns.extend(rest.into_iter().map(|column| (column, SortOptions::default())));
    let is_span = |at: usize, data_type: &DataType| {
        at < declared && matches!(data_type, DataType::Interval(_))
    };
    let field = |(at, &(column, options)): (usize, &(usize, SortOptions))| {
        let data_type = info.schema.field(column).data_type();
        let data_type = if is_span(at, data_type) { &SPAN } else { data_type };
        SortField::new_with_options(data_type.clone(), options)
    };
    let converter = RowConverter::new(columns.iter().enumerate().map(field).collect())?;
    let convert = |rows: &RecordBatch| {
        let array = |(at, &(column, _)): (usize, &(usize, SortOptions))| {
            let array = rows.column(column);
            if is_span(at, array.data_type()) { ordered(array) } else { Arc::clone(array) }
        };
        let arrays: Vec<_> = columns.iter().enumerate().map(array).collect();
        converter.convert_columns(&arrays)
    };
    batches.map(convert).collect()
}
