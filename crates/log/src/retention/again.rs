//! The list of bases, made again from the bases that are there and from what the log says of them.
//!
//! Transactions say the Time, the table and the hash of each base before it came into use, and what is in a base does not
//! depend on the list. So a base that is there and is what one of them says may be in use, also when it was not yet: it
//! holds what the table was at that Time. It is guessed nowhere: when a base may be missing that segments were rewritten
//! for, there is no list.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use change::{TableName, Time};
use proof::Hash;

use crate::Log;
use crate::disk::Disk;
use crate::error::LogError;
use crate::retention::DIRECTORY;
use crate::retention::list::{Base, Bases, FoldedTable};
use crate::scrub::bases::hash_of;
use crate::shared::Segment;

/// Makes the list of bases again; says why that cannot be.
pub(crate) fn listed_again(
    dir: &Path,
    disk: &Arc<dyn Disk>,
) -> Result<Result<Bases, String>, LogError> {
    let log = Log::open_unlisted(dir, Arc::clone(disk))?;
    let mut said: BTreeMap<TableName, Vec<FoldedTable>> = BTreeMap::new();
    for (_, base) in log.said_of_bases()?.0 {
        said.entry(base.table.clone()).or_default().push(base);
    }
    let (there, next) = bases_in(dir, &**disk)?;
    let segments = log.shared.state().segments.clone();
    let mut bases = Bases { next, ..Bases::default() };
    for (table, mut said) in said {
        said.sort_by_key(|base| base.since);
        let known = said.iter().rposition(|base| there.contains_key(&base.hash));
        let segment = |base: &FoldedTable| border(&segments, base.since);
        let chosen = known.and_then(|at| Some((said.get(at)?, segment(said.get(at)?)?)));
        let last = said.last().and_then(segment).unwrap_or(u64::MAX);
        let from = chosen.map_or(1, |(_, segment)| segment);
        let is_needed =
            |it: &&Segment| it.number >= from && it.number < last && it.thin_bytes.is_some();
        if let Some(rewritten) = segments.iter().find(is_needed) {
            return Ok(Err(format!(
                "the base of {table} that the log speaks of last is missing or damaged, and segment {} may have been \
                 rewritten for it",
                rewritten.number
            )));
        }
        if let Some((FoldedTable { since, rows, bytes, hash, .. }, segment)) = chosen
            && let Some(&number) = there.get(hash)
        {
            let (since, rows, bytes, hash) = (*since, *rows, *bytes, *hash);
            bases.tables.insert(table, Base { since, segment, number, rows, bytes, hash });
        }
    }
    // Which segments are rewritten already is not known: all are once more.
    let upto = bases.tables.values().map(|base| base.segment).max();
    bases.unthinned = upto.map_or((0, 0), |upto| (1, upto));
    Ok(Ok(bases))
}

/// The bases that are there, by their hashes, and the number of the next.
fn bases_in(dir: &Path, disk: &dyn Disk) -> Result<(BTreeMap<Hash, u64>, u64), LogError> {
    let base_dir = dir.join(DIRECTORY);
    let names = match disk.list(&base_dir) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(LogError::io("list", &base_dir, error)),
    };
    let numbers = names.iter().filter_map(|name| name.strip_suffix(".base")?.parse::<u64>().ok());
    // The last number is that of a base that is being repaired.
    let numbers = numbers.filter(|number| *number < u64::MAX);
    let (mut there, mut next) = (BTreeMap::new(), 0);
    for number in numbers {
        let go_on = &mut |_| ControlFlow::Continue(());
        // One that cannot be read is not there.
        if let Ok(Some(hash)) = hash_of(disk, dir, number, go_on) {
            there.insert(hash, number);
        }
        next = next.max(number.saturating_add(1));
    }
    Ok((there, next))
}

/// The segment behind a Time, when it is a border between two.
fn border(segments: &[Segment], since: Time) -> Option<u64> {
    segments.iter().rev().find(|segment| segment.first == since.next()).map(|it| it.number)
}
