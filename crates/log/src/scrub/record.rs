//! What a scrub found, kept beside the segments: so it is known after a restart, and to readers of a log at rest.
//!
//! `log/damage` is text: a line of its own version, one for the last full pass, and one for each finding, its fields
//! parted by tabs. It is not synced: when it is lost, the next pass finds the same again.

use std::path::{Path, PathBuf};

use change::Time;

use crate::disk::{Access, Disk};
use crate::error::LogError;
use crate::limits::in_memory;
use crate::scrub::{Damage, DamageKind};

/// The first line.
const VERSION: &str = "evert damage v1";
/// The most bytes of a record that is read.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// What was found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// When the last full pass ended, in microseconds since 1970 UTC; 0 for never.
    pub(crate) passed_us: i64,
    pub(crate) damage: Vec<Damage>,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("damage")
}

/// Reads what was found; nothing when there is no record, or none that can be read.
pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Record {
    let read = || {
        let file = disk.open(&path(dir), Access::Read).ok()?;
        let length = file.length().ok().filter(|length| *length <= RECORD_BYTES_MAX)?;
        let mut bytes = vec![0; in_memory(length)];
        let read = file.read_at(&mut bytes, 0).ok()?;
        parse(std::str::from_utf8(bytes.get(..read)?).ok()?)
    };
    read().unwrap_or_default()
}

/// Writes what was found.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn save(disk: &dyn Disk, dir: &Path, record: &Record) -> Result<(), LogError> {
    let (path, unborn) = (path(dir), dir.join("damage.new"));
    let failed = |error| LogError::io("write", &path, error);
    let file = disk.create(&unborn).map_err(failed)?;
    file.write_at(&[text(record).as_bytes()], 0).map_err(failed)?;
    disk.rename(&unborn, &path).map_err(failed)
}

fn text(record: &Record) -> String {
    let mut text = format!("{VERSION}\npassed\t{}\n", record.passed_us);
    for damage in &record.damage {
        let kind = match damage.kind {
            DamageKind::Segment => "segment",
            DamageKind::Altered => "altered",
            DamageKind::Derived => "derived",
        };
        let (first, last) = damage.times.unwrap_or_default();
        let Damage { file, offset, bytes, since_us, .. } = damage;
        let tables: Vec<String> = damage.tables.iter().map(|name| plain(name)).collect();
        let (tables, reason) = (tables.join(","), plain(&damage.reason));
        let fields = [
            kind.to_owned(),
            plain(file),
            offset.to_string(),
            bytes.to_string(),
            first.to_string(),
            last.to_string(),
            since_us.to_string(),
            tables,
            reason,
        ];
        text.push_str(&fields.join("\t"));
        text.push('\n');
    }
    text
}

/// A text without what parts fields and lines. A table's name with a comma is shown as two; it is for people.
fn plain(text: &str) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}

fn parse(text: &str) -> Option<Record> {
    let mut lines = text.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let passed_us = lines.next()?.strip_prefix("passed\t")?.parse().ok()?;
    let damage = lines.map(parse_damage).collect::<Option<_>>()?;
    Some(Record { passed_us, damage })
}

fn parse_damage(line: &str) -> Option<Damage> {
    let fields: Vec<&str> = line.split('\t').collect();
    let &[kind, file, offset, bytes, first, last, since_us, tables, reason] = fields.as_slice()
    else {
        return None;
    };
    let kind = match kind {
        "segment" => DamageKind::Segment,
        "altered" => DamageKind::Altered,
        "derived" => DamageKind::Derived,
        _ => return None,
    };
    let (first, last) = (Time(first.parse().ok()?), Time(last.parse().ok()?));
    let names = tables.split(',').filter(|name| !name.is_empty());
    Some(Damage {
        kind,
        file: file.to_owned(),
        offset: offset.parse().ok()?,
        bytes: bytes.parse().ok()?,
        times: (last > Time::ZERO).then_some((first, last)),
        tables: names.map(str::to_owned).collect(),
        reason: reason.to_owned(),
        since_us: since_us.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written_and_no_prefix_of_it_panics() {
        let damage = Damage {
            kind: DamageKind::Segment,
            file: "00000000000000000001.log".to_owned(),
            offset: 64,
            bytes: 128,
            times: Some((Time(3), Time(5))),
            tables: vec!["shop.orders".to_owned(), "shop.items".to_owned()],
            reason: "a\ttab".to_owned(),
            since_us: 7,
        };
        let derived =
            Damage { kind: DamageKind::Derived, times: None, tables: Vec::new(), ..damage.clone() };
        let record = Record { passed_us: 9, damage: vec![damage, derived] };
        let written = text(&record);
        let mut expected = record;
        expected.damage.iter_mut().for_each(|damage| damage.reason = "a tab".to_owned());
        assert_eq!(parse(&written), Some(expected));
        for length in 0..written.len() {
            drop(parse(&written[..length]));
        }
    }
}
