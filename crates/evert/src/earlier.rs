//! Earlier lives of tables: a source that was dropped and created again may find its tables with other columns.
//!
//! The log keeps what the earlier source said, in the columns of then, up to the Time at which the catalogue lost the
//! table; at that Time the table became empty. So these changes matter only to a target that was filled before: where
//! all columns that are read are the same they are passed on, and otherwise they are left out, and a target that was
//! filled from them is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use change::{TableChanges, TableName, TableSchema, Time, Unchanged};
use dataflow::Dataflow;
use plan::ir::ViewPlan;

use crate::engine::Outlet;
use crate::failure::Failure;

/// A table that a source once had, and the Time at which it was forgotten with its source.
#[derive(Clone, Debug)]
pub(crate) struct Forgotten {
    pub(crate) at: Time,
    pub(crate) table: Arc<TableSchema>,
}

/// What becomes of changes from earlier lives.
pub(crate) struct Earlier {
    tables: BTreeMap<TableName, Table>,
}

/// A table that is read and had earlier lives.
struct Table {
    now: Arc<TableSchema>,
    /// The positions of the columns that are read.
    read: Vec<usize>,
    /// Ascending by Time.
    lives: Vec<Forgotten>,
}

impl Earlier {
    /// Finds the tables of a dataflow that were forgotten before.
    pub(crate) fn new(forgotten: &[Forgotten], dataflow: &Dataflow) -> Self {
        let mut tables = BTreeMap::new();
        for (now, read) in dataflow.tables() {
            let is_it = |life: &&Forgotten| life.table.name() == now.name();
            let lives: Vec<_> = forgotten.iter().filter(is_it).cloned().collect();
            if !lives.is_empty() {
                let table = Table { now: Arc::clone(now), read: read.to_vec(), lives };
                tables.insert(now.name().clone(), table);
            }
        }
        Self { tables }
    }

    /// Fails when a target was filled from changes that cannot be passed on: the difference to it is not known.
    pub(crate) fn refuse(&self, plans: &[ViewPlan], outlets: &[Outlet]) -> Result<(), Failure> {
        let filled = outlets.iter().filter(|outlet| outlet.held > Time::ZERO);
        for outlet in filled {
            let view = &plans[outlet.view];
            let tables = view.root.tables().into_iter();
            let lost = tables.filter_map(|table| self.tables.get(table.name())).find(|table| {
                let since = table.lives.iter().filter(|life| life.at >= outlet.held);
                since.into_iter().any(|life| table.columns_of(&life.table).is_none())
            });
            if let Some(table) = lost {
                return Err(Failure::Usage {
                    what: format!(
                        "the target of view {} was filled up to Time {}, when table {} had other \
                         columns",
                        view.name,
                        outlet.held,
                        table.now.name()
                    ),
                    help:
                        "empty the target and its progress (the sink's row of evert_progress, or \
                           the .position beside the file), and it is filled again"
                            .to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Gives changes from earlier lives the columns of now, and leaves those out for which that cannot be. The changes
    /// are those of transactions from `first` on.
    pub(crate) fn adapted<'a>(
        &self,
        first: Time,
        tables: &'a [TableChanges],
    ) -> Cow<'a, [TableChanges]> {
        let life = |changes: &TableChanges| {
            let table = self.tables.get(changes.table().name())?;
            table.lives.iter().any(|life| first <= life.at).then_some(table)
        };
        if self.tables.is_empty() || tables.iter().all(|changes| life(changes).is_none()) {
            return Cow::Borrowed(tables);
        }
        let adapted = |changes: &TableChanges| match life(changes) {
            Some(table) => table.adapt(changes.clone()),
            None => Some(changes.clone()),
        };
        Cow::Owned(tables.iter().filter_map(adapted).collect())
    }
}

impl Table {
    /// For each column of now its position then; `None` when the tables differ in what is read.
    fn columns_of(&self, then: &TableSchema) -> Option<Vec<Option<usize>>> {
        let (now, then_fields) = (self.now.columns().fields(), then.columns().fields());
        let places: Vec<Option<usize>> =
            now.iter().map(|now| then_fields.iter().position(|then| then == now)).collect();
        let key: Option<Vec<usize>> = self.now.key().iter().map(|&column| places[column]).collect();
        let same = self.read.iter().all(|&column| places[column].is_some())
            && key.as_deref() == Some(then.key())
            && self.now.form() == then.form();
        same.then_some(places)
    }

    fn adapt(&self, changes: TableChanges) -> Option<TableChanges> {
        if changes.table() == &self.now {
            return Some(changes);
        }
        let places = self.columns_of(changes.table())?;
        let rows = changes.changes().rows();
        let fields = self.now.columns().fields().iter();
        let columns = fields.zip(&places).map(|(field, place)| match place {
            Some(place) => Arc::clone(rows.column(*place)),
            // Nobody reads it.
            None => new_null_array(field.data_type(), rows.num_rows()),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let schema = Arc::clone(self.now.columns());
        let rows = RecordBatch::try_new_with_options(schema, columns.collect(), &options)
            .expect("columns of the same types, or of nothing");
        let place_now = |then: u32| places.iter().position(|place| *place == Some(then as usize));
        let unchanged = changes.unchanged().iter().filter_map(|at| {
            let column = u32::try_from(place_now(at.column)?).ok()?;
            Some(Unchanged { column, ..*at })
        });
        let mut unchanged: Vec<Unchanged> = unchanged.collect();
        unchanged.sort_unstable();
        let rows = changes.changes().with_rows(rows);
        Some(TableChanges::new(Arc::clone(&self.now), rows, changes.ends().to_vec(), unchanged))
    }
}
