//! Inputs in steps: what is pushed before a step ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use change::{TableChanges, TableName, TableSchema};
use inputs::{Auction, Bid, Cdc, Change, Customer, Event, Nexmark, Order, Person, STEP};

use super::rows::{Facts, TableRows, table};

/// The changes of a step, by table.
pub(crate) type Step = Vec<TableChanges>;

/// How many events or changes a transaction has where that matters: as bytes, each has a head.
pub(crate) const TRANSACTION: usize = 10;

/// Tables, and what is known of them besides their schemas.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    /// Their schemas.
    pub(crate) all: Vec<Arc<TableSchema>>,
    /// Those whose rows are only ever added.
    pub(crate) append_only: BTreeSet<TableName>,
}

/// Nexmark's tables: `person`, `auction` and `bid`.
pub(crate) fn nexmark_tables(facts: Facts) -> Tables {
    let key: &[usize] = match facts {
        Facts::Declared => &[0],
        Facts::Unknown => &[],
    };
    let all = vec![
        table::<Person>("nexmark", "person", key),
        table::<Auction>("nexmark", "auction", key),
        table::<Bid>("nexmark", "bid", &[]),
    ];
    let append_only = match facts {
        Facts::Declared => all.iter().map(|table| table.name().clone()).collect(),
        Facts::Unknown => BTreeSet::new(),
    };
    Tables { all, append_only }
}

/// The tables of captured changes: `customers` and `orders`, with keys.
pub(crate) fn cdc_tables() -> Tables {
    let all =
        vec![table::<Customer>("shop", "customers", &[0]), table::<Order>("shop", "orders", &[0])];
    Tables { all, append_only: BTreeSet::new() }
}

/// Nexmark's first events in steps, each of transactions of so many events.
pub(crate) fn nexmark_steps(tables: &Tables, events: usize, transaction: usize) -> Vec<Step> {
    let mut people = TableRows::<Person>::new(&tables.all[0]);
    let mut auctions = TableRows::<Auction>::new(&tables.all[1]);
    let mut bids = TableRows::<Bid>::new(&tables.all[2]);
    let mut nexmark = Nexmark::new();
    let step = |_| {
        for (at, event) in (1..).zip(nexmark.by_ref().take(STEP)) {
            match event {
                Event::Person(row) => people.push(row, 1),
                Event::Auction(row) => auctions.push(row, 1),
                Event::Bid(row) => bids.push(row, 1),
            }
            if at % transaction == 0 {
                people.end();
                auctions.end();
                bids.end();
            }
        }
        [people.take(), auctions.take(), bids.take()].into_iter().flatten().collect()
    };
    (0..events / STEP).map(step).collect()
}

/// How changes are cut into steps and transactions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Changes a step.
    pub(crate) step: usize,
    /// Changes a transaction.
    pub(crate) transaction: usize,
}

impl Cut {
    /// Steps of one transaction.
    pub(crate) const WHOLE: Self = Self { step: STEP, transaction: STEP };
    /// Steps of many transactions.
    pub(crate) const SMALL: Self = Self { step: STEP, transaction: TRANSACTION };
    /// A change a step.
    pub(crate) const SINGLE: Self = Self { step: 1, transaction: 1 };
}

/// Captured changes in steps, made as they are asked for.
pub(crate) fn cdc_steps<'a>(
    tables: &Tables,
    cut: Cut,
    mut changes: impl Iterator<Item = Change> + 'a,
) -> impl Iterator<Item = Step> + 'a {
    let mut customers = TableRows::<Customer>::new(&tables.all[0]);
    let mut orders = TableRows::<Order>::new(&tables.all[1]);
    std::iter::from_fn(move || {
        let mut taken = 0;
        for change in changes.by_ref().take(cut.step) {
            match change {
                Change::Customer(old, new) => {
                    old.into_iter().for_each(|row| customers.push(row, -1));
                    new.into_iter().for_each(|row| customers.push(row, 1));
                }
                Change::Order(old, new) => {
                    old.into_iter().for_each(|row| orders.push(row, -1));
                    new.into_iter().for_each(|row| orders.push(row, 1));
                }
            }
            taken += 1;
            if taken % cut.transaction == 0 {
                customers.end();
                orders.end();
            }
        }
        if taken % cut.transaction != 0 {
            customers.end();
            orders.end();
        }
        (taken > 0).then(|| [customers.take(), orders.take()].into_iter().flatten().collect())
    })
}

/// The changes of so many updates.
pub(crate) fn updates(cdc: &mut Cdc, count: usize) -> impl Iterator<Item = Change> {
    (0..count).flat_map(|_| {
        let (first, second) = cdc.update();
        std::iter::once(first).chain(second)
    })
}
