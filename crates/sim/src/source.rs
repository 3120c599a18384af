//! The simulated sources: small databases that never forget what they committed, and send it again from any position.

use std::sync::Arc;

use change::{Part, RequestId, SourcePosition, TRUNCATE, Time, TransactionGroup, TransactionHead};

use crate::model::Tables;
use crate::random::Random;
use crate::tables::{Cell, Change, Table, Transaction, encode};

/// The sources, in the order of their numbers.
pub(crate) const SOURCES: [&str; 3] = ["shop", "bank", "evert"];

/// The source of what Evert itself writes: it has no positions, and what was lost of it is not sent again.
pub(crate) const OWN: usize = 2;

/// How many keys there are: few, so that rows come, change and go.
const KEYS: i64 = 24;

/// A source and all that it committed.
pub(crate) struct Source {
    number: usize,
    committed: Vec<Arc<Transaction>>,
    tables: Tables,
    /// The next transaction to send.
    pub(crate) next: usize,
    /// How many changes of the next one were sent in parts.
    sent: Option<usize>,
}

/// A group to append, and the transactions that become visible with it.
pub(crate) struct Sending {
    pub(crate) group: TransactionGroup,
    pub(crate) visible: Vec<(usize, Arc<Transaction>)>,
}

impl Source {
    pub(crate) fn new(number: usize) -> Self {
        Self { number, committed: Vec::new(), tables: Tables::default(), next: 0, sent: None }
    }

    pub(crate) fn name(&self) -> &'static str {
        SOURCES[self.number]
    }

    /// How many transactions were committed and not sent.
    pub(crate) fn backlog(&self) -> usize {
        self.committed.len() - self.next
    }

    /// Begins to send from a position, again.
    pub(crate) fn resume(&mut self, next: usize) {
        self.next = if self.number == OWN { self.committed.len() } else { next };
        self.sent = None;
    }

    /// Commits a transaction.
    pub(crate) fn commit(&mut self, random: &mut Random) {
        let changes = match self.number {
            0 => shop(&self.tables, random),
            1 => bank(&self.tables, random),
            _ => catalog(&format!("v{}", self.committed.len())),
        };
        let transaction = Transaction { changes };
        self.tables.apply(&transaction);
        self.committed.push(Arc::new(transaction));
    }

    /// Commits that a view is there, as Evert itself does.
    pub(crate) fn create_view(&mut self, name: &str) {
        let transaction = Transaction { changes: catalog(name) };
        self.tables.apply(&transaction);
        self.committed.push(Arc::new(transaction));
    }

    /// The next group to append: whole transactions, or a part of a large one; `None` when all is sent.
    pub(crate) fn send(&mut self, random: &mut Random) -> Option<Sending> {
        let transaction = Arc::clone(self.committed.get(self.next)?);
        let changes = &transaction.changes;
        if self.sent.is_none() && (changes.len() < 4 || random.one_in(3)) {
            let count = 1 + random.index(self.backlog().min(6));
            return Some(self.whole(count));
        }
        let from = self.sent.unwrap_or(0);
        let mut upto = (from + 1 + random.index(changes.len())).min(changes.len());
        if changes.get(upto).is_some_and(|change| change.unchanged) {
            // What it left out may be in the row that the change before removed: they travel together.
            upto += 1;
        }
        let (first, last) = (self.sent.is_none(), upto == changes.len() && from > 0);
        // The first part and the last are never the same.
        if first && upto == changes.len() {
            return Some(self.whole(1));
        }
        let part = if first {
            Part::First
        } else if last {
            Part::Last
        } else {
            Part::Middle
        };
        let head = self.head(self.next);
        let tables = encode(&[&changes[from..upto]]);
        let group = TransactionGroup::new(self.name().into(), part, vec![head], tables);
        let visible = if last { vec![(self.next, Arc::clone(&transaction))] } else { Vec::new() };
        self.sent = (!last).then_some(upto);
        self.next += usize::from(last);
        Some(Sending { group, visible })
    }

    fn whole(&mut self, count: usize) -> Sending {
        let numbers = self.next..self.next + count;
        let transactions = &self.committed[numbers.clone()];
        let changes: Vec<&[Change]> = transactions.iter().map(|one| &one.changes[..]).collect();
        let heads = numbers.clone().map(|number| self.head(number)).collect();
        let group = TransactionGroup::new(self.name().into(), Part::Whole, heads, encode(&changes));
        let visible = numbers.zip(transactions.iter().cloned()).collect();
        self.next += count;
        Sending { group, visible }
    }

    fn head(&self, number: usize) -> TransactionHead {
        head(self.number, number)
    }
}

/// What is said of a source's transaction besides its changes.
pub(crate) fn head(source: usize, number: usize) -> TransactionHead {
    let number = number as u64;
    if source == OWN {
        return TransactionHead::own();
    }
    let position = SourcePosition::Step(number + 1);
    let head = TransactionHead::at(position, Some(1_000 + i64::try_from(number).unwrap_or(0)));
    if source == 0 {
        return head;
    }
    let request = Some(RequestId(format!("request {number}").into_bytes().into()));
    TransactionHead { request, causes: vec![Time(number), Time(number / 2)], ..head }
}

fn shop(tables: &Tables, random: &mut Random) -> Vec<Change> {
    let large = random.one_in(8);
    let count = if large { random.between(8, 40) } else { random.between(1, 4) };
    let mut tables = tables.clone();
    let mut changes = Vec::new();
    for _ in 0..count {
        let more = shop_change(&tables, random);
        tables.apply(&Transaction { changes: more.clone() });
        changes.extend(more);
    }
    changes
}

fn shop_change(tables: &Tables, random: &mut Random) -> Vec<Change> {
    let (orders, customers) = (tables.orders(), tables.customers());
    let key = Cell::Int(random.signed(1, KEYS));
    let amount = |random: &mut Random| match random.below(12) {
        0 => Cell::Null,
        _ => Cell::Int(random.signed(-20, 120)),
    };
    let order = |id: Cell, random: &mut Random| {
        let customer = if random.one_in(10) { Cell::Null } else { Cell::Int(random.signed(1, 8)) };
        Table::Orders.change(1, &[id, customer, amount(random), note(random)])
    };
    match random.below(40) {
        0 => vec![Table::Orders.change(TRUNCATE, &[])],
        1..=7 => {
            let region = ["north", "south", "east", "west"];
            let region = Cell::Text(random.pick(&region).to_owned());
            let region = if random.one_in(8) { Cell::Null } else { region };
            vec![Table::Customers.change(1, &[Cell::Int(random.signed(1, 8)), region])]
        }
        8..=10 if !customers.is_empty() => {
            vec![Table::Customers.change(-1, &[Cell::Int(random.pick(&customers))])]
        }
        11..=16 if !orders.is_empty() => {
            vec![Table::Orders.change(-1, &[Cell::Int(random.pick(&orders))])]
        }
        17..=21 if !orders.is_empty() => {
            let mut change = order(Cell::Int(random.pick(&orders)), random);
            (change.unchanged, change.cells[3]) = (true, Cell::Null);
            vec![change]
        }
        22..=25 if !orders.is_empty() && orders.len() < 20 => {
            // An update of a key that leaves the note out.
            let gone = Table::Orders.change(-1, &[Cell::Int(random.pick(&orders))]);
            let free = (1..=KEYS).find(|id| !orders.contains(id)).unwrap_or(KEYS + 1);
            let mut change = order(Cell::Int(free), random);
            (change.unchanged, change.cells[3]) = (true, Cell::Null);
            vec![gone, change]
        }
        _ => vec![order(key, random)],
    }
}

fn note(random: &mut Random) -> Cell {
    match random.below(8) {
        0 => Cell::Null,
        1 => Cell::Text(String::new()),
        2 => Cell::Text("long ".repeat(random.index(120))),
        _ => Cell::Text(format!("note {}", random.below(1_000))),
    }
}

/// Amounts that sum to 0, whatever comes and goes.
fn bank(tables: &Tables, random: &mut Random) -> Vec<Change> {
    let entry = |diff, account, amount| {
        Table::Ledger.change(diff, &[Cell::Int(account), Cell::Int(amount)])
    };
    let mut changes = Vec::new();
    let entries = tables.entries();
    if !entries.is_empty() && random.one_in(3) {
        // An entry is moved to another account.
        let (account, amount) = random.pick(&entries);
        changes.push(entry(-1, account, amount));
        changes.push(entry(1, random.signed(1, 6), amount));
    }
    let large = random.one_in(10);
    for _ in 0..if large { random.between(5, 20) } else { random.between(1, 3) } {
        let (from, to) = (random.signed(1, 6), random.signed(1, 6));
        let amount = random.signed(1, 9);
        changes.push(entry(1, from, -amount));
        changes.push(entry(1, to, amount));
    }
    changes
}

fn catalog(view: &str) -> Vec<Change> {
    let row = ["view", view, "select 1"].map(|text| Cell::Text(text.to_owned()));
    vec![Table::Catalog.change(1, &row)]
}
