//! What proofs cost, and how fast the tree is made.
//!
//! The append is that of `log-append`: one group at a time, so that a notary that got into the way of a write would be
//! seen.

use std::time::{Duration, Instant};

use ::log::{Notary, NotaryOptions};
use proof::Signer;

use super::append::append_one_by_one;
use super::input::{Groups, small};
use super::{append_durably, open};
use crate::figure::{Figure, median};
use crate::{Maybe, Outcome, Size};

/// What Tessera's authors publish for one node of the POSIX kind, in leaves a second.
const TESSERA_LEAVES_PER_S: f64 = 10_000.0;

fn signer() -> Maybe<Signer> {
    Ok(Signer::from_seed("bench.example/log", &[1; 32])?)
}

/// How a notary of a running process works.
pub(super) fn notary() -> Maybe<NotaryOptions> {
    Ok(NotaryOptions { signer: signer()?, interval: Duration::from_secs(1) })
}

/// Appends with and without a notary.
pub(crate) fn append(size: Size) -> Outcome {
    let sizes = [("1KB", 1 << 10), ("16KB", 16 << 10), ("256KB", 256 << 10), ("1MB", 1 << 20)];
    let mut figures = Vec::new();
    for (name, bytes) in sizes {
        let groups = (size.of(128 << 20, 4 << 20) / bytes).clamp(16, size.of(4_000, 200));
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for round in 0..size.of(7, 1) {
            let made = Groups::new(round).take(groups, bytes);
            // Who goes first takes turns as well.
            for provable in [round % 2 == 0, round % 2 != 0] {
                let directory = tempfile::tempdir()?;
                let log = open(&directory.path().join("log"))?;
                if provable {
                    log.start_notary(notary()?)?;
                }
                let rate = append_one_by_one(&log, &made)?.megabytes_s();
                if provable { with.push(rate) } else { without.push(rate) }
            }
        }
        figures.push(
            Figure::alone(format!("log-proof-{name}"), median(with), "MB/s")
                .beside("the same without proofs", median(without)),
        );
    }
    Ok(figures)
}

/// Takes transactions into the tree: leaves, tiles, one checkpoint.
pub(crate) fn leaves(size: Size) -> Outcome {
    let mut figures = Vec::new();
    for (name, transactions) in [("alone", 1), ("grouped", 1_000)] {
        let groups = size.of(200_000, 20_000) / transactions;
        let directory = tempfile::tempdir()?;
        let log = open(directory.path())?;
        for _ in 1..groups {
            log.append(&small(transactions), Box::new(drop))?;
        }
        append_durably(&log, &small(transactions))?;
        let since = Instant::now();
        let mut notary = Notary::open(&log, signer()?)?;
        while notary.step()?.is_some() {}
        notary.publish()?;
        let seconds = since.elapsed().as_secs_f64();
        assert_eq!(notary.size(), log.upper().0 - 1, "every transaction is a leaf");
        figures.push(
            Figure::alone(format!("log-leaves-{name}"), notary.size() as f64 / seconds, "leaves/s")
                .beside("Tessera, as published", TESSERA_LEAVES_PER_S),
        );
    }
    Ok(figures)
}
