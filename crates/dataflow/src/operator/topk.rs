//! Top-k: the rows `[offset, offset + limit)` of an order, of all rows or of each partition.
//!
//! The order is total: the order keys, then every other column ascending with NULLs first, so equal rows are the only
//! ties and it does not matter which of them is kept. All rows are kept, because any row may move into the window when
//! one before it goes.
//!
//! With F(p, A) the first p rows of A, the window is W(A) = F(offset + limit, A) − F(offset, A), and a step emits
//! W(A + Δ) − W(A). How often F holds a row follows from where F ends: all of its copies lie before the end, none, or,
//! for the one row that is cut, some. An end moves by no more rows than the step changed. So a row's share can only
//! differ if the row was changed itself, or if an end moved over it; no other row is looked at, and nothing of what was
//! shown needs to be remembered.

use arrow::datatypes::SchemaRef;
use change::ChangeBatch;
use plan::ir::OrderKey;

use super::partitioned::{Emitted, Partitioned, Span};
use super::pending::{Delta, Deltas, partition_of};
use super::{BuildError, Out};
use crate::arrangement::{Rank, StateSize};
use crate::error::OperatorError;

/// The rows of a window of an order, of each partition.
pub(crate) struct TopK {
    rows: Partitioned,
    offset: u64,
    /// Where the window ends; `None` for no end.
    end: Option<u64>,
}

/// Where the first rows of an order end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Before the first row.
    Before,
    /// In the row: so many copies of it still belong to them.
    Within { row: Box<[u8]>, copies: i64 },
    /// Behind the last row.
    Behind,
}

/// A window's ends.
struct Ends {
    start: End,
    end: End,
}

impl TopK {
    pub(super) fn new(
        schema: &SchemaRef,
        partition: &[usize],
        order: &[OrderKey],
        (offset, limit): (usize, Option<usize>),
    ) -> Result<Self, BuildError> {
        Ok(Self {
            rows: Partitioned::new(schema, partition, order)?,
            offset: offset as u64,
            end: limit.map(|limit| offset.saturating_add(limit) as u64),
        })
    }

    /// Takes changes in. Without offset and limit they pass.
    pub(super) fn push(
        &mut self,
        changes: &ChangeBatch,
    ) -> Result<Option<ChangeBatch>, OperatorError> {
        if self.offset == 0 && self.end.is_none() {
            return Ok(Some(changes.clone()));
        }
        self.rows.push(changes)?;
        Ok(None)
    }

    pub(super) fn finish(&mut self, out: &mut Out) -> Result<(), OperatorError> {
        let deltas: Deltas = self.rows.take();
        let mut emitted = Emitted::default();
        for places in deltas.partitions(0) {
            let deltas = deltas.slice(places);
            let partition = partition_of(deltas[0].row);
            let before = self.ends(self.rows.span(partition));
            let span = self.rows.apply(partition, &deltas);
            let after = self.ends(span);
            for delta in &deltas {
                let count = self.count(delta.row);
                let shown = before.share(delta.row, count.wrapping_sub(delta.diff));
                emitted.add(delta.row, after.share(delta.row, count).wrapping_sub(shown));
            }
            self.moved(span, (&before, &after), &deltas, &mut emitted);
            self.rows.flush(&mut emitted, out)?;
        }
        self.rows.give_out(&mut emitted, out)?;
        Ok(())
    }

    /// How often a row is there.
    fn count(&self, row: &[u8]) -> i64 {
        let Rank { entries, .. } = self.rows.rows.rank(|other| other < row);
        let found = self.rows.rows.entry(entries).filter(|entry| entry.row == row);
        found.map_or(0, |entry| entry.count.max(0))
    }

    fn ends(&self, span: Span) -> Ends {
        let end = |rows: u64| {
            if rows == 0 {
                return End::Before;
            }
            if rows >= span.rows() {
                return End::Behind;
            }
            let last = span.start.rows + rows - 1;
            let entry = self.rows.rows.at(last).expect("the partition has more rows");
            let copies = (last - entry.place + 1).cast_signed();
            End::Within { row: entry.row.into(), copies }
        };
        Ends { start: end(self.offset), end: self.end.map_or(End::Behind, end) }
    }

    /// Emits the rows that did not change themselves, but that an end of the window moved over.
    fn moved(
        &self,
        span: Span,
        (before, after): (&Ends, &Ends),
        deltas: &[Delta<'_>],
        emitted: &mut Emitted,
    ) {
        let mut done = span.start.rows;
        for (old, new) in [(&before.start, &after.start), (&before.end, &after.end)] {
            if old == new {
                continue;
            }
            let (from, to) = (self.place(old, span, false), self.place(old, span, true));
            let (other_from, other_to) =
                (self.place(new, span, false), self.place(new, span, true));
            let from = from.min(other_from).max(done);
            let to = to.max(other_to);
            self.rows.rows.visit(from, to, &mut |entry| {
                let changed = deltas.binary_search_by(|delta| delta.row.cmp(entry.row));
                // A row that the first range already showed is not shown again.
                if changed.is_err() && entry.place >= from {
                    let shown = before.share(entry.row, entry.count);
                    emitted.add(entry.row, after.share(entry.row, entry.count).wrapping_sub(shown));
                }
            });
            done = done.max(to);
        }
    }

    /// The place of an end among the rows as they are: before the row that it cuts, or behind.
    fn place(&self, end: &End, span: Span, is_behind: bool) -> u64 {
        match end {
            End::Before => span.start.rows,
            End::Behind => span.end.rows,
            End::Within { row, .. } if is_behind => {
                self.rows.rows.rank(|other| other <= &**row).rows
            }
            End::Within { row, .. } => self.rows.rows.rank(|other| other < &**row).rows,
        }
    }

    pub(super) fn size(&self) -> StateSize {
        self.rows.size()
    }
}

impl Ends {
    /// How many of a row's copies lie in the window.
    fn share(&self, row: &[u8], count: i64) -> i64 {
        self.end.share(row, count) - self.start.share(row, count)
    }
}

impl End {
    /// How many of a row's copies lie before the end.
    fn share(&self, row: &[u8], count: i64) -> i64 {
        match self {
            Self::Before => 0,
            Self::Behind => count,
            Self::Within { row: cut, copies } => match row.cmp(cut) {
                std::cmp::Ordering::Less => count,
                std::cmp::Ordering::Equal => *copies,
                std::cmp::Ordering::Greater => 0,
            },
        }
    }
}
