//! Single: the rows as they are, as long as no key has more than one.
//!
//! The value of a scalar subquery is its one row; more than one row is an error, and SQL says that the query fails. Here
//! only the key fails: with n the number of its rows, the key shows its row while n = 1, nothing while n = 0, and a
//! fault while n > 1. Which of the three it is depends on the sum of all its changes, so it is looked at once, at the
//! step's end, before the changes and after.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use change::ChangeBatch;

use super::partitioned::{Emitted, Partitioned, Span};
use super::pending::{Deltas, partition_of};
use super::{BuildError, Fault, Out};
use crate::arrangement::StateSize;
use crate::columns::{batch, nullable};
use crate::error::OperatorError;
use crate::faulty::rows_as_json;

/// Rows of which each key may have one.
pub(crate) struct Single {
    rows: Partitioned,
    /// The key's columns.
    key: SchemaRef,
}

impl Single {
    pub(super) fn new(schema: &SchemaRef, key: &[usize]) -> Result<Self, BuildError> {
        let fields: Vec<_> = key.iter().map(|&at| Arc::clone(&schema.fields()[at])).collect();
        Ok(Self {
            rows: Partitioned::new(schema, key, &[])?,
            key: nullable(&Arc::new(Schema::new(fields))),
        })
    }

    pub(super) fn push(&mut self, changes: &ChangeBatch) -> Result<(), OperatorError> {
        Ok(self.rows.push(changes)?)
    }

    pub(super) fn finish(&mut self, out: &mut Out) -> Result<(), OperatorError> {
        let deltas: Deltas = self.rows.take();
        let mut emitted = Emitted::default();
        for places in deltas.partitions(0) {
            let deltas = deltas.slice(places);
            let partition = partition_of(deltas[0].row);
            let before = self.rows.span(partition);
            // The key is forgotten with its last row, so it is read before.
            let key = self.rows.keys(&[partition])?;
            self.show(before, -1, &mut emitted);
            let after = self.rows.apply(partition, &deltas);
            self.show(after, 1, &mut emitted);
            let diff = i64::from(after.rows() > 1) - i64::from(before.rows() > 1);
            if diff != 0 {
                let row = rows_as_json(&batch(&self.key, key, 1)?)?.pop().unwrap_or_default();
                out.faults.push(Fault {
                    expression: "scalar subquery".to_owned(),
                    row,
                    message: "more than one row".to_owned(),
                    diff,
                });
            }
            self.rows.flush(&mut emitted, out)?;
        }
        self.rows.give_out(&mut emitted, out)?;
        Ok(())
    }

    /// Gathers a key's row, if it is the only one.
    fn show(&self, span: Span, diff: i64, emitted: &mut Emitted) {
        if span.rows() == 1 {
            let entry = self.rows.rows.at(span.start.rows).expect("the key has one row");
            emitted.add(entry.row, diff);
        }
    }

    pub(super) fn size(&self) -> StateSize {
        self.rows.size()
    }
}
