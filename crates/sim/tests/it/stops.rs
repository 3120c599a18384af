//! The machine stops at every step of a small run, in turn, and once more at each of the steps by which it recovers.

use sim::disk::Stop;
use sim::{Outcome, Report, Setup};

/// A run whose small segments are rolled a few times.
const SEED: u64 = 6;

/// How often each loss of power is played, each time with another chance of what is lost.
const CHANCES: u64 = 2;

fn run(stops: &[(u64, Stop)], disk_stream: u64) -> u64 {
    run_setup(&Setup::stopped(SEED, stops.to_vec(), disk_stream), stops).steps
}

/// The same, with a run that may fold.
fn run_folding(seed: u64, stops: &[(u64, Stop)], disk_stream: u64) -> Report {
    let setup = Setup::stopped(seed, stops.to_vec(), disk_stream);
    run_setup(&Setup { folds: true, actions: 48, ..setup }, stops)
}

fn run_setup(setup: &Setup, stops: &[(u64, Stop)]) -> Report {
    let report =
        sim::run(setup).unwrap_or_else(|violation| panic!("{stops:?}: {violation}\n{setup:#?}"));
    assert_eq!(report.outcome, Outcome::Equal, "{stops:?}");
    report
}

/// The steps of the first process when nothing stops it.
fn steps_of_a_life() -> u64 {
    let never = u64::from(u32::MAX);
    run(&[(never, Stop::Process)], 2)
}

#[test]
fn a_process_may_be_killed_at_every_step() {
    for step in 1..=steps_of_a_life() {
        run(&[(step, Stop::Process)], 2);
    }
}

#[test]
fn power_may_fail_at_every_step() {
    for step in 1..=steps_of_a_life() {
        for chance in 0..CHANCES {
            run(&[(step, Stop::Power)], 10 + chance);
        }
    }
}

#[test]
fn what_a_killed_process_left_is_durable_before_the_next_one_acknowledges_anything() {
    let never = u64::from(u32::MAX);
    for step in 1..=steps_of_a_life() {
        // The next process works on what it finds, and then the power fails.
        for chance in 0..CHANCES {
            run(&[(step, Stop::Process), (never, Stop::Power)], 100 + chance);
        }
    }
}

#[test]
fn the_recovery_from_each_may_be_stopped_too() {
    let kinds = [Stop::Process, Stop::Power];
    for step in (1..=steps_of_a_life()).step_by(3) {
        for again in 1..=8 {
            let (first, second) = (kinds[(step % 2) as usize], kinds[(again / 2 % 2) as usize]);
            run(&[(step, first), (again, second)], step + again);
        }
    }
}

#[test]
fn a_view_may_be_created_and_a_backup_made_while_a_process_is_killed_at_every_step() {
    let run = |seed: u64, stops: &[(u64, Stop)], disk_stream: u64| {
        let setup = Setup::stopped(seed, stops.to_vec(), disk_stream);
        let setup = Setup { folds: true, fills: true, backups: true, actions: 48, ..setup };
        run_setup(&setup, stops)
    };
    let never = [(u64::from(u32::MAX), Stop::Process)];
    let runs = (0..100).map(|seed| (seed, run(seed, &never, 2)));
    let does_all = |run: &Report| run.folds > 0 && run.fills > 1 && run.backups > 1;
    let (seed, Report { steps, .. }) = { runs }.find(|(_, run)| does_all(run)).unwrap();
    for step in (1..=steps).step_by(5) {
        run(seed, &[(step, Stop::Process)], 2);
        run(seed, &[(step + 1, Stop::Power)], 10);
    }
}

#[test]
fn a_fold_may_be_stopped_at_every_step_and_so_may_what_follows() {
    let never = [(u64::from(u32::MAX), Stop::Process)];
    // The first run that folds history a few times.
    let runs = (0..100).map(|seed| (seed, run_folding(seed, &never, 2)));
    let (seed, Report { steps, .. }) = { runs }.find(|(_, run)| run.folds > 2).unwrap();
    for step in 1..=steps {
        run_folding(seed, &[(step, Stop::Process)], 2);
        for chance in 0..CHANCES {
            run_folding(seed, &[(step, Stop::Power)], 10 + chance);
        }
        if step % 3 == 0 {
            run_folding(seed, &[(step, Stop::Power), (1 + step % 11, Stop::Power)], step);
        }
    }
}
