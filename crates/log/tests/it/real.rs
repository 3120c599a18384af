//! Real crashes on real files: a process killed with -9, and a small file system that runs full.
//!
//! The simulator (`crates/sim`) plays far more, and exactly the same again; this shows that its disk is like a real one.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use change::{SourcePosition, Time};
use log::{Log, LogError, OnFull, RealDisk};

use crate::world::{PATIENCE, append, append_later, dir, group, ids, open_with, small_segments};

/// Where the process that is to be killed writes; it is this test binary, started anew.
const WRITER: &str = "EVERT_LOG_TEST_WRITER";

/// How often it is killed.
const KILLS: u64 = 12;

/// What the killed process does: appends, and says what was acknowledged. It ends by being killed.
#[test]
fn a_process_to_be_killed() {
    let Some(dir) = std::env::var_os(WRITER) else { return };
    let (log, recovery) = open_with(Path::new(&dir), small_segments());
    let mut step = match recovery.positions.get("s") {
        Some(SourcePosition::Step(step)) => step + 1,
        _ => 0,
    };
    loop {
        let waiting: Vec<_> = (step..step + 20)
            .map(|step| append_later(&log, &group("s", step, &[3])).unwrap())
            .collect();
        step += 20;
        for waiting in waiting {
            let time = waiting.recv_timeout(PATIENCE).unwrap().unwrap();
            // Whole lines: `println` might be cut in the middle.
            std::io::stderr().write_all(format!("acknowledged {time}\n").as_bytes()).unwrap();
        }
    }
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "real::a_process_to_be_killed", "--nocapture"])
        .env(WRITER, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let dir = dir();
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut child = start(dir.path());
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Killed after so many acknowledgements, and a little later each time.
        let (wanted, begun) = (1 + kill * 37 % 90, Instant::now());
        let mut told = 0;
        for line in lines {
            let line = line.unwrap();
            if let Some(time) = line.strip_prefix("acknowledged ") {
                acknowledged = time.parse::<u64>().unwrap();
                told += 1;
            }
            if told == wanted {
                std::thread::sleep(Duration::from_micros(kill * 700));
                child.kill().unwrap();
            }
        }
        assert!(told >= wanted, "it ended by itself after {told} in {:?}", begun.elapsed());
        child.wait().unwrap();
        let disk = Arc::new(RealDisk);
        let (log, recovery) = Log::open_read_only(dir.path(), disk).unwrap();
        let upper = log.upper().0;
        assert!(upper > acknowledged, "{upper} after {acknowledged} were acknowledged");
        assert_eq!(ids(&log, 0).len() as u64, (upper - 1) * 3, "whole transactions");
        assert_eq!(recovery.positions["s"], SourcePosition::Step(upper - 2), "each step once");
    }
    assert!(acknowledged > KILLS * 20, "{acknowledged}");
}

/// A small ext4 of its own, unmounted when dropped.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Makes one of this size; `None` where that is not allowed.
    fn mount(place: &Path, megabytes: u64) -> Option<Self> {
        let (image, at) = (place.join("image"), place.join("disk"));
        fs::create_dir(&at).unwrap();
        fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let run = |command: &mut Command| match command.output() {
            Ok(output) if output.status.success() => true,
            Ok(output) => {
                eprintln!("SKIPPED, it takes root: {}", String::from_utf8_lossy(&output.stderr));
                false
            }
            Err(error) => {
                eprintln!("SKIPPED, {command:?} cannot be run: {error}");
                false
            }
        };
        let made = run(Command::new("mkfs.ext4").arg("-q").arg(&image))
            && run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
        made.then_some(Self { at })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.at).status().map(drop).unwrap_or_default();
    }
}

/// Makes the ballast smaller.
fn make_room(ballast: &Path, megabytes: u64) {
    let left = fs::metadata(ballast).unwrap().len().saturating_sub(megabytes << 20);
    let file = fs::OpenOptions::new().write(true).open(ballast).unwrap();
    file.set_len(left).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_full_file_system_refuses_writers_serves_readers_and_goes_on_with_room() {
    let place = dir();
    let Some(disk) = SmallDisk::mount(place.path(), 16) else { return };
    let ballast = disk.at.join("ballast");
    fs::write(&ballast, vec![1; 6 << 20]).unwrap();
    let at = disk.at.join("log");
    let mut acknowledged = 0;
    // All in one process.
    let (log, _) = open_with(&at, small_segments());
    for _ in 0..3 {
        let error = loop {
            match append(&log, &group("s", acknowledged, &[2_000])) {
                Ok(time) => acknowledged = time.0,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
        assert!(log.failure().is_none() && log.full().is_some());
        assert_eq!(log.upper(), Time(acknowledged + 1));
        assert_eq!(ids(&log, 0).len() as u64, acknowledged * 2_000, "readers go on");
        let (outside, _) = Log::open_read_only(&at, Arc::new(RealDisk)).unwrap();
        assert_eq!(outside.upper(), Time(acknowledged + 1), "also those of another process");
        drop(outside);
        // Who waits is written as soon as there is room: a little each time.
        let (sender, receiver) = mpsc::channel();
        let done = Box::new(move |result| sender.send(result).unwrap_or(()));
        log.append_with(&group("s", acknowledged, &[2_000]), OnFull::Wait, done).unwrap();
        assert!(receiver.recv_timeout(Duration::from_millis(700)).is_err(), "it waits");
        make_room(&ballast, 2);
        acknowledged = receiver.recv_timeout(PATIENCE).unwrap().unwrap().0;
    }
    assert!(acknowledged > 30, "{acknowledged}");
    drop(log);
    let (log, recovery) = open_with(&at, small_segments());
    assert_eq!((recovery.upper, recovery.cut_bytes), (Time(acknowledged + 1), 0));
    assert_eq!(ids(&log, 0).len() as u64, acknowledged * 2_000);
}
