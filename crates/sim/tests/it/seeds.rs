//! Seeds: the first two hundred, those that once found something, and that a seed is the same run every time.

use std::collections::BTreeMap;

use sim::{Mix, Outcome, Setup};

/// How many seeds run with every test run. `cargo run -p sim -- --seeds 0..10000` runs more.
const SEEDS: u64 = 200;

#[track_caller]
fn run(seed: u64) -> sim::Report {
    sim::run(&Setup::new(seed, None)).unwrap_or_else(|violation| {
        let setup = Setup::new(seed, None);
        panic!("{violation}\n{setup:#?}\nreplay it: cargo run -p sim -- --seed {seed}")
    })
}

#[test]
fn nothing_is_wrong_whatever_the_disk_does() {
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut acknowledged, mut folds, mut went_on) = (0, 0, 0);
    let (mut fills, mut backups, mut restores) = (0, 0, 0);
    for seed in 0..SEEDS {
        let report = run(seed);
        acknowledged += report.acknowledged;
        folds += report.folds;
        went_on += report.went_on;
        fills += report.fills;
        backups += report.backups;
        restores += report.restores;
        let outcome = match report.outcome {
            Outcome::Equal => "equal",
            Outcome::Reported(_) => "reported",
            Outcome::EndLost => "end lost",
        };
        *outcomes.entry(outcome).or_default() += 1;
        let is_harmful = Setup::new(seed, None).mix.is_harmful();
        assert!(is_harmful || outcome == "equal", "seed {seed}: {outcome} without harm");
    }
    // The runs do something, and harm is found.
    assert!(acknowledged > SEEDS * 20, "{acknowledged} transactions");
    assert!(folds > SEEDS / 4, "{folds} folds");
    assert!(fills > SEEDS / 4, "{fills} views were created");
    assert!(backups > SEEDS / 2 && restores > SEEDS / 4, "{backups} backups, {restores} restored");
    assert!(went_on > SEEDS / 20, "{went_on} times there was room again");
    assert!(outcomes["equal"] > SEEDS / 2 && outcomes["reported"] > SEEDS / 20, "{outcomes:?}");
}

#[test]
fn seeds_that_once_found_something_are_well() {
    // Recovery wrote back what it had not looked at again; and harm that recovery cuts off, and is stopped.
    for seed in [293, 403, 656, 805, 5_072] {
        for extras in [false, true] {
            let (folds, fills, backups) = (extras, extras, extras);
            let setup = Setup { folds, fills, backups, ..Setup::new(seed, None) };
            sim::run(&setup).unwrap_or_else(|violation| panic!("{violation}\n{setup:#?}"));
        }
    }
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for mix in [Mix::Crashes, Mix::Errors, Mix::Full, Mix::Harm, Mix::All] {
        let of_mix = |seed: &u64| Setup::new(*seed, None).mix == mix;
        for seed in (0..SEEDS).filter(of_mix).take(4) {
            assert_eq!(run(seed), run(seed), "seed {seed}");
        }
    }
}
