//! Reading a log beside the one who writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use change::Time;
use log::{Log, LogError, LogOptions, RealDisk};

use crate::meddled::meddled;
use crate::world::{append, dir, group, ids, open_with, options, small_segments, try_open};

#[test]
fn a_writer_that_overtakes_every_read_is_no_damage() {
    for options in [options(), small_segments()] {
        let dir = dir();
        let (writer, _) = open_with(dir.path(), options);
        append(&writer, &group("s", 0, &[1])).unwrap();
        let (writer, steps) = (Arc::new(writer), AtomicU64::new(1));
        let overtaking = Arc::clone(&writer);
        // Two writes behind each read: the second says that the first was durable.
        let disk = meddled(move |_access, read| {
            for _ in 0..2 {
                let step = steps.fetch_add(1, Ordering::Relaxed);
                if step < 60 {
                    append(&overtaking, &group("s", step, &[1])).unwrap();
                }
            }
            read
        });
        let (log, recovery) = Log::open_read_only(dir.path(), Arc::new(disk)).unwrap();
        assert!(recovery.upper > Time(1) && recovery.upper <= writer.upper());
        assert_eq!(Time(ids(&log, 0).len() as u64 + 1), recovery.upper);
    }
}

#[test]
fn opening_beside_a_fast_writer_never_fails() {
    // Many short logs: a long one takes long to open.
    for _ in 0..40 {
        let dir = dir();
        let disk = Arc::new(meddled(|_access, read| read));
        let (writer, _) =
            try_open(dir.path(), LogOptions { segment_bytes_max: 64 << 10, ..options() }, disk)
                .unwrap();
        let done = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                for step in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                    append(&writer, &group("s", step, &[1])).unwrap();
                }
            });
            let open = || Log::open_read_only(dir.path(), Arc::new(RealDisk));
            let uppers: Result<Vec<Time>, LogError> =
                (0..60).map(|_| Ok(open()?.1.upper)).collect();
            done.store(true, Ordering::Relaxed);
            uppers
        });
        let uppers = outcome.unwrap();
        assert!(uppers.is_sorted(), "what was seen stays: {uppers:?}");
    }
}
