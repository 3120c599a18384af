//! Replays a seed and tells what happens in it, or runs many: `cargo run -p sim -- --seed 7`,
//! `cargo run -p sim -- --seeds 0..1000`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;

use sim::{Canary, Outcome, Setup};

const USAGE: &str = "usage: sim --seed N | --seeds FROM..TO [--canary NAME]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((seeds, canary)) = parse(&arguments) else {
        let names: Vec<String> = Canary::ALL.iter().map(|canary| canary.name()).collect();
        eprintln!("{USAGE}\ncanaries: {}", names.join(" "));
        return ExitCode::from(2);
    };
    let (mut outcomes, mut did, mut failed) = (BTreeMap::new(), BTreeMap::new(), 0_u64);
    let single = seeds.end - seeds.start == 1;
    for seed in seeds {
        let mut setup = Setup::new(seed, canary);
        if single {
            println!("{setup:#?}");
            setup.listener = Some(|what| println!("{what}"));
        }
        match sim::run(&setup) {
            Ok(report) => {
                if single {
                    println!("{report:#?}");
                }
                *outcomes.entry(format!("{:?}", report.outcome)).or_insert(0_u64) += 1;
                for (what, count) in [
                    ("fold history", report.folds),
                    ("create views", report.fills),
                    ("make backups", report.backups),
                    ("restore them", report.restores),
                    ("run on a disk that may be full", u64::from(setup.mix.is_full())),
                    ("go on when there is room again", report.went_on),
                    ("are stopped by harm", u64::from(report.outcome != Outcome::Equal)),
                ] {
                    let (seeds, times) = did.entry(what).or_insert((0_u64, 0_u64));
                    *seeds += u64::from(count > 0);
                    *times += count;
                }
            }
            Err(violation) => {
                failed += 1;
                println!("seed {seed}: {violation}\nreplay it: cargo run -p sim -- --seed {seed}");
            }
        }
    }
    for (outcome, count) in outcomes {
        println!("{count} {outcome}");
    }
    for (what, (seeds, times)) in did {
        println!("{seeds} {what}, {times} times");
    }
    if failed > 0 {
        println!("{failed} FAILED");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn parse(arguments: &[String]) -> Option<(Range<u64>, Option<Canary>)> {
    let (mut seeds, mut canary) = (None, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = rest.next()?;
        match argument.as_str() {
            "--seed" => {
                let seed: u64 = value.parse().ok()?;
                seeds = Some(seed..seed + 1);
            }
            "--seeds" => {
                let (from, to) = value.split_once("..")?;
                seeds = Some(from.parse().ok()?..to.parse().ok()?);
            }
            "--canary" => {
                canary = Some(Canary::ALL.into_iter().find(|canary| canary.name() == *value)?);
            }
            _ => return None,
        }
    }
    Some((seeds?, canary))
}
