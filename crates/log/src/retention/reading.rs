//! What a reader from the beginning gets of what was folded: one transaction at `since`.

use std::path::Path;
use std::sync::Arc;

use change::catalog::OWN_SOURCE;
use change::{TableChanges, Time, TransactionHead};

use crate::disk::Disk;
use crate::error::LogError;
use crate::reader::Chunk;
use crate::retention::base::BaseReader;
use crate::retention::list::Bases;

/// What was folded, as far as it is not read yet.
pub(crate) struct Folded {
    bases: Arc<Bases>,
    /// How many bases were read.
    read: usize,
    reader: Option<BaseReader>,
}

impl Folded {
    pub(crate) fn new(bases: Arc<Bases>) -> Self {
        Self { bases, read: 0, reader: None }
    }

    /// The Time at which all of it is.
    pub(crate) fn since(&self) -> Time {
        self.bases.since()
    }

    /// The next rows of a base; `None` when all were read.
    pub(crate) fn next_base(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
    ) -> Result<Option<Chunk>, LogError> {
        loop {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => {
                    let Some(base) = self.bases.tables.values().nth(self.read) else {
                        return Ok(None);
                    };
                    self.reader.insert(BaseReader::open(disk, dir, base)?)
                }
            };
            if let Some(rows) = reader.next()? {
                return Ok(Some(self.chunk(vec![rows], false)));
            }
            self.reader = None;
            self.read += 1;
        }
    }

    /// What a chunk of the history adds to the bases; `None` when nothing.
    pub(crate) fn kept(&self, chunk: Chunk) -> Option<Chunk> {
        let is_kept = |changes: &TableChanges| {
            chunk.first > self.bases.since_of(changes.table().name())
                && !changes.changes().is_empty()
        };
        let kept = chunk.tables.iter().filter(|changes| is_kept(changes));
        let tables: Vec<TableChanges> = kept.map(joined).collect();
        (!tables.is_empty()).then(|| self.chunk(tables, false))
    }

    /// The end of the transaction.
    pub(crate) fn end(&self) -> Chunk {
        self.chunk(Vec::new(), true)
    }

    fn chunk(&self, tables: Vec<TableChanges>, complete: bool) -> Chunk {
        let since = self.since();
        let source = match tables.first() {
            Some(changes) => Arc::clone(&changes.table().name().source),
            None => OWN_SOURCE.into(),
        };
        Chunk {
            first: since,
            last: since,
            source,
            heads: vec![TransactionHead::own()],
            wall_clock_us: 0,
            tables,
            complete,
        }
    }
}

/// The changes of several transactions as those of one.
fn joined(changes: &TableChanges) -> TableChanges {
    let end = changes.ends().last().copied().unwrap_or(0);
    let unchanged = changes.unchanged().to_vec();
    TableChanges::new(Arc::clone(changes.table()), changes.changes().clone(), vec![end], unchanged)
}
