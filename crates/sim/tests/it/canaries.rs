//! Bugs to order: each is caught, so the checkers see. Without a bug the same seeds are well.

use sim::{Canary, Mix, Setup};

/// How many seeds a bug may hide from.
const PATIENCE: u64 = 40;

#[test]
fn every_canary_is_caught() {
    for canary in Canary::ALL {
        let caught = (0..PATIENCE).find_map(|seed| {
            let violation = sim::run(&Setup::new(seed, Some(canary))).err()?;
            Some((seed, violation))
        });
        let (seed, violation) = caught.unwrap_or_else(|| panic!("nobody saw {canary:?}"));
        println!("{canary:?} at seed {seed}: {violation}");
    }
}

#[test]
fn the_seeds_of_the_canaries_are_well_without_them() {
    for seed in 0..10 {
        let setup =
            Setup { canary: None, mix: Mix::Crashes, ..Setup::new(seed, Some(Canary::Skipped)) };
        sim::run(&setup).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}
