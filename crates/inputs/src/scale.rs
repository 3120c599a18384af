//! How large the inputs are, and what is right for them.
//!
//! The answers were computed apart from every engine, by loops over the rows.

/// The size of the inputs, and the queries' answers for it.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// How many Nexmark events.
    pub events: usize,
    /// How many customers are loaded.
    pub customers: i64,
    /// How many orders are loaded.
    pub orders: i64,
    /// How many times rows are updated.
    pub updates: usize,
    /// How many changes those updates are.
    pub update_changes: usize,
    /// q1: how many bids, and the sum of their prices in euro.
    pub q1: (i64, i64),
    /// q3: how many rows.
    pub q3: i64,
    /// q4: category, sum and number of the highest bids.
    pub q4: [(i64, i64, i64); 5],
    /// qc: the sum of `count * 7 + sum` over all regions.
    pub qc: i64,
}

/// The size of the figures of record.
pub const FULL: Scale = Scale {
    events: 10_000_000,
    customers: 100_000,
    orders: 2_000_000,
    updates: 5_000_000,
    update_changes: 5_249_228,
    q1: (9_200_000, 4_177_745_046_473),
    q3: 59_942,
    q4: [
        (10, 109_759_920_814, 119_732),
        (11, 110_022_731_902, 120_060),
        (12, 109_703_113_883, 119_637),
        (13, 110_132_697_081, 120_188),
        (14, 110_282_372_195, 120_362),
    ],
    qc: 100_042_741_444,
};

/// A tenth of it.
pub const QUICK: Scale = Scale {
    events: 1_000_000,
    customers: 10_000,
    orders: 200_000,
    updates: 500_000,
    update_changes: 524_966,
    q1: (920_000, 417_848_318_193),
    q3: 5_916,
    q4: [
        (10, 10_973_314_046, 11_958),
        (11, 11_028_970_641, 12_043),
        (12, 10_913_815_187, 11_902),
        (13, 10_904_170_591, 11_896),
        (14, 11_162_832_765, 12_198),
    ],
    qc: 9_994_233_971,
};

/// How many events or changes a step takes.
pub const STEP: usize = 10_000;
