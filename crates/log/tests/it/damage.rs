//! What a crash leaves is cut; what was durable is never cut.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use change::{Part, Time};
use log::format::{FrameKind, Header};
use log::{LogError, RealDisk};

use crate::world::{
    append, dir, frames, group, ids, open, open_with, options, part, segments, small_segments,
    try_open,
};

/// A log of five writes, each with one frame of transactions, without the frame that closing adds.
fn crashed_log(dir: &Path) -> (Vec<u8>, Vec<Header>) {
    let (log, _) = open(dir);
    for step in 0..5 {
        append(&log, &group("s", step * 2, &[1, 2])).unwrap();
    }
    drop(log);
    let file = segments(dir).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let frames: Vec<Header> =
        frames(&bytes).into_iter().filter(|frame| frame.kind != FrameKind::Close).collect();
    bytes.truncate(frames.last().unwrap().end() as usize);
    fs::write(&file, &bytes).unwrap();
    (bytes, frames)
}

/// Opens a log whose only segment has these bytes; returns how many bytes were cut and the rows that are left.
fn reopen(bytes: &[u8], zeros: usize) -> Result<(u64, usize, Time), LogError> {
    let dir = dir();
    let file = dir.path().join(format!("{:020}.log", 1));
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len() + zeros, 0);
    fs::write(&file, bytes).unwrap();
    let (log, recovery) = try_open(dir.path(), options(), Arc::new(RealDisk))?;
    let rows = ids(&log, 0).len();
    // The log goes on, and what follows is read after the next start as well.
    append(&log, &group("s", 90, &[1])).unwrap();
    drop(log);
    let (log, again) = open(dir.path());
    assert_eq!((again.cut_bytes, ids(&log, 0).len()), (0, rows + 1));
    Ok((recovery.cut_bytes, rows, recovery.upper))
}

#[test]
fn a_torn_end_is_cut_at_every_byte() {
    let dir = dir();
    let (bytes, frames) = crashed_log(dir.path());
    let last = frames.last().unwrap();
    let (start, end) = (last.place.offset as usize, bytes.len());
    assert_eq!(reopen(&bytes, 0).unwrap(), (0, 15, Time(11)));
    for length in start..end {
        let torn = &bytes[..length];
        let cut = torn[start..].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let found = reopen(torn, 0).unwrap();
        // A file may end within the zeros behind the last frame; then the frame counts as unfinished.
        assert_eq!(found, (cut as u64, 12, Time(9)), "cut at byte {length}");
    }
}

#[test]
fn a_garbled_or_zeroed_end_is_cut_at_every_byte() {
    let dir = dir();
    let (bytes, frames) = crashed_log(dir.path());
    let last = frames.last().unwrap();
    let payload_end = (last.place.offset + last.bytes()) as usize;
    for from in (last.place.offset as usize..payload_end).step_by(3) {
        let mut garbled = bytes.clone();
        for (at, byte) in garbled[from..payload_end].iter_mut().enumerate() {
            *byte ^= (at as u8).wrapping_mul(37) | 1;
        }
        let (cut, rows, upper) = reopen(&garbled, 8192).unwrap();
        assert_eq!((rows, upper), (12, Time(9)), "garbled from byte {from}");
        assert!(cut > 0);
        let mut zeroed = bytes.clone();
        if zeroed[from..payload_end].iter().all(|&byte| byte == 0) {
            continue;
        }
        zeroed[from..].fill(0);
        let (_, rows, upper) = reopen(&zeroed, 8192).unwrap();
        assert_eq!((rows, upper), (12, Time(9)), "zeroed from byte {from}");
    }
}

#[test]
fn any_flipped_bit_before_the_last_write_is_damage_and_is_not_cut() {
    let dir = dir();
    let (bytes, frames) = crashed_log(dir.path());
    let file = segments(dir.path()).remove(0);
    let last = frames.last().unwrap().place.offset as usize;
    for frame in frames.iter().filter(|frame| frame.end() as usize <= last) {
        let (start, end) = (frame.place.offset as usize, frame.place.offset + frame.bytes());
        for at in (start..end as usize).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&file, &damaged).unwrap();
            let error = try_open(dir.path(), options(), Arc::new(RealDisk)).err().unwrap();
            let LogError::Damaged { segment, offset, lost, .. } = &error else {
                panic!("byte {at}: {error}")
            };
            assert_eq!((segment, *offset), (&file, start as u64), "byte {at}");
            assert!(lost.from <= frame.first_time, "byte {at}: {lost:?}");
            assert!(lost.until.is_some_and(|until| until > frame.first_time || until == Time(1)));
            assert!(error.help().unwrap().contains("backup"));
            assert_eq!(fs::read(&file).unwrap(), damaged, "nothing was touched");
        }
    }
}

#[test]
fn zeros_in_the_middle_are_damage_too() {
    let dir = dir();
    let (mut damaged, frames) = crashed_log(dir.path());
    let lost = frames.iter().rev().nth(2).unwrap();
    damaged[lost.place.offset as usize..lost.end() as usize].fill(0);
    let error = reopen(&damaged, 8192).unwrap_err();
    let LogError::Damaged { offset, lost: what, .. } = &error else { panic!("{error}") };
    assert_eq!(*offset, lost.place.offset);
    assert_eq!((what.from, what.until), (lost.first_time, Some(lost.next_time())));
    assert!(error.to_string().contains("from Time 5 and before Time 7"), "{error}");
}

#[test]
fn the_last_write_of_a_closed_log_is_not_cut_either() {
    let dir = dir();
    let (log, _) = open(dir.path());
    append(&log, &group("s", 0, &[1])).unwrap();
    append(&log, &group("s", 1, &[1])).unwrap();
    drop(log);
    let file = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let frames = frames(&bytes);
    let [.., last, close] = &frames[..] else { panic!() };
    assert_eq!((last.first_time, close.kind), (Time(2), FrameKind::Close));
    bytes[last.place.offset as usize + 200] ^= 4;
    fs::write(&file, bytes).unwrap();
    let error = try_open(dir.path(), options(), Arc::new(RealDisk)).err().unwrap();
    assert_eq!(error.code(), "LOG004");
}

#[test]
fn damage_in_an_earlier_segment_stops_the_read_there() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    for step in 0..60 {
        append(&log, &group("s", step, &[3])).unwrap();
    }
    drop(log);
    let files = segments(dir.path());
    assert!(files.len() > 4);
    let whole = fs::read(&files[1]).unwrap();
    let headers = frames(&whole);
    let hit = &headers[headers.len() - 2];
    let mut flipped = whole.clone();
    flipped[hit.place.offset as usize + 130] ^= 1;
    // The end of a segment that has a successor is no torn end.
    let shortened = whole[..hit.place.offset as usize].to_vec();
    let mut zeroed = whole.clone();
    zeroed[hit.place.offset as usize..].fill(0);
    for damaged in [flipped, shortened, zeroed] {
        fs::write(&files[1], &damaged).unwrap();
        let (log, recovery) = open_with(dir.path(), small_segments());
        assert_eq!(recovery.upper, Time(61));
        let mut reader = log.reader(Time::ZERO);
        let mut reached = Time::ZERO;
        let error = loop {
            match reader.next() {
                Ok(chunk) => reached = chunk.expect("the end is not reached").last,
                Err(error) => break error,
            }
        };
        assert_eq!(reached.next(), hit.first_time);
        let LogError::Damaged { segment, offset, .. } = &error else { panic!("{error}") };
        assert_eq!((segment, *offset), (&files[1], hit.place.offset));
        // What comes behind the segment is readable.
        assert!(!ids(&log, 50).is_empty());
        drop(log);
        assert_eq!(fs::read(&files[1]).unwrap(), damaged, "nothing was touched");
    }
    fs::write(&files[1], &whole).unwrap();
    fs::remove_file(&files[2]).unwrap();
    let error = try_open(dir.path(), small_segments(), Arc::new(RealDisk)).err().unwrap();
    assert!(matches!(error, LogError::Missing { segment } if segment == files[2]));
}

#[test]
fn a_damaged_preamble_is_damage() {
    let dir = dir();
    let (log, _) = open_with(dir.path(), small_segments());
    for step in 0..30 {
        append(&log, &group("s", step, &[3])).unwrap();
    }
    drop(log);
    for file in segments(dir.path()) {
        let whole = fs::read(&file).unwrap();
        let mut damaged = whole.clone();
        damaged[140] ^= 1;
        fs::write(&file, damaged).unwrap();
        let error = try_open(dir.path(), small_segments(), Arc::new(RealDisk)).err().unwrap();
        assert!(matches!(error, LogError::Damaged { offset: 0, .. }), "{error}");
        fs::write(&file, whole).unwrap();
    }
}

#[test]
fn a_newer_format_is_refused_and_not_cut() {
    let dir = dir();
    let (bytes, frames) = crashed_log(dir.path());
    let file = segments(dir.path()).remove(0);
    let start = frames.last().unwrap().place.offset as usize;
    let mut newer = bytes;
    newer[start + 4] = 9;
    let crc = crc(&newer[start..start + 124]);
    newer[start + 124..start + 128].copy_from_slice(&crc.to_le_bytes());
    fs::write(&file, &newer).unwrap();
    let error = try_open(dir.path(), options(), Arc::new(RealDisk)).err().unwrap();
    assert!(matches!(error, LogError::Version { version: 9, .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), newer);
}

#[test]
fn frames_of_another_place_are_not_taken_for_frames() {
    let dir = dir();
    let (bytes, frames) = crashed_log(dir.path());
    // A stale copy of the last frame right behind it.
    let last = frames.last().unwrap();
    let mut stale = bytes.clone();
    stale.extend_from_slice(&bytes[last.place.offset as usize..]);
    let (cut, rows, _) = reopen(&stale, 0).unwrap();
    let stale = stale[bytes.len()..].iter().rposition(|&byte| byte != 0).unwrap() + 1;
    assert_eq!((cut, rows), (stale as u64, 15));
}

#[test]
fn unfinished_parts_survive_a_torn_end() {
    let dir = dir();
    let (log, _) = open(dir.path());
    append(&log, &part("big", Part::First, 1, &[4])).unwrap();
    append(&log, &part("big", Part::Last, 1, &[4])).unwrap();
    drop(log);
    let file = segments(dir.path()).remove(0);
    let bytes = fs::read(&file).unwrap();
    let last = frames(&bytes).into_iter().rev().nth(1).unwrap();
    let start = last.place.offset as usize;
    let torn = [&bytes[..start + 60], &[1]].concat();
    fs::write(&file, torn).unwrap();
    let (log, recovery) = open(dir.path());
    assert_eq!((recovery.upper, recovery.cut_bytes), (Time(1), 61));
    assert!(recovery.positions.is_empty());
    assert_eq!(recovery.cut_segment, Some(file));
    append(&log, &part("big", Part::Last, 1, &[5])).unwrap();
    assert_eq!(ids(&log, 0).len(), 9);
}

/// CRC-32C, bit by bit, as the reference for the crate's own.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}
