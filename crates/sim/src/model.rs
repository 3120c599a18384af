//! The views by an evaluator that shares nothing with what it checks: tables as maps, queries as loops.

use std::collections::BTreeMap;

use change::TRUNCATE;

use crate::filling::LATE;
use crate::tables::{Cell, Change, Table, Transaction};

/// The views, and what they mean.
pub(crate) const SCRIPT: &str = "
    create view dear as select id, amount from orders where amount > 50;
    create view placed as
        select o.id, c.region, o.amount, o.note
        from orders o join customers c on o.customer = c.id;
    create view regions as
        select c.region, count(*) as orders, sum(o.amount) as total
        from orders o join customers c on o.customer = c.id group by c.region;
    create view balance as select sum(amount) as total, count(*) as entries from ledger;
    create view accounts as
        select account, sum(amount) as total, count(*) as entries from ledger group by account;
";

/// The names of the views, in the order of the script.
pub(crate) const VIEWS: [&str; 5] = ["dear", "placed", "regions", "balance", "accounts"];

/// Rows, each with how often it is there.
pub(crate) type Rows = BTreeMap<Vec<Cell>, i64>;

/// What the tables hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    customers: BTreeMap<i64, Cell>,
    orders: BTreeMap<i64, Order>,
    ledger: BTreeMap<(i64, i64), i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Order {
    customer: Option<i64>,
    amount: Option<i64>,
    note: Cell,
}

impl Tables {
    /// The orders' ids.
    pub(crate) fn orders(&self) -> Vec<i64> {
        self.orders.keys().copied().collect()
    }

    /// The customers' ids.
    pub(crate) fn customers(&self) -> Vec<i64> {
        self.customers.keys().copied().collect()
    }

    /// The entries of the ledger.
    pub(crate) fn entries(&self) -> Vec<(i64, i64)> {
        self.ledger.keys().copied().collect()
    }

    /// Applies a transaction.
    pub(crate) fn apply(&mut self, transaction: &Transaction) {
        let mut removed: Option<Order> = None;
        for change in &transaction.changes {
            removed = self.apply_change(change, removed);
        }
    }

    /// Applies a change; returns the order that it removed, of which the next may take what it left out.
    fn apply_change(&mut self, change: &Change, removed: Option<Order>) -> Option<Order> {
        let id = change.cells[0].int();
        match (change.table, change.diff, id) {
            (Table::Customers, TRUNCATE, _) => self.customers.clear(),
            (Table::Customers, 1, Some(id)) => {
                self.customers.insert(id, change.cells[1].clone());
            }
            (Table::Customers, _, Some(id)) => drop(self.customers.remove(&id)),
            (Table::Orders, TRUNCATE, _) => self.orders.clear(),
            (Table::Orders, 1, Some(id)) => {
                let before = self.orders.get(&id).cloned().or(removed);
                let note = match before {
                    Some(before) if change.unchanged => before.note,
                    _ => change.cells[3].clone(),
                };
                let (customer, amount) = (change.cells[1].int(), change.cells[2].int());
                self.orders.insert(id, Order { customer, amount, note });
            }
            (Table::Orders, _, Some(id)) => return self.orders.remove(&id),
            (Table::Ledger, TRUNCATE, _) => self.ledger.clear(),
            (Table::Ledger, diff, Some(account)) => {
                let entry = (account, change.cells[1].int().unwrap_or_default());
                let count = self.ledger.entry(entry).or_default();
                *count += diff;
                if *count == 0 {
                    self.ledger.remove(&entry);
                }
            }
            (Table::Customers | Table::Orders | Table::Ledger, _, None)
            | (Table::Catalog | Table::Folds, ..) => {}
        }
        None
    }

    /// The rows of a view, or of the same one that was created later.
    pub(crate) fn view(&self, name: &str) -> Rows {
        match name.strip_prefix(LATE).unwrap_or(name) {
            "dear" => self.dear(),
            "placed" => self.placed(),
            "regions" => self.regions(),
            "balance" => self.balance(),
            _ => self.accounts(),
        }
    }

    fn dear(&self) -> Rows {
        let dear = self.orders.iter().filter_map(|(&id, order)| Some((id, order.amount?)));
        let dear = dear.filter(|(_, amount)| *amount > 50);
        dear.map(|(id, amount)| (vec![Cell::Int(id), Cell::Int(amount)], 1)).collect()
    }

    fn joined(&self) -> impl Iterator<Item = (i64, &Cell, &Order)> {
        self.orders.iter().filter_map(|(&id, order)| {
            let region = self.customers.get(&order.customer?)?;
            Some((id, region, order))
        })
    }

    fn placed(&self) -> Rows {
        let row = |(id, region, order): (i64, &Cell, &Order)| {
            (vec![Cell::Int(id), region.clone(), number(order.amount), order.note.clone()], 1)
        };
        self.joined().map(row).collect()
    }

    fn regions(&self) -> Rows {
        let mut groups: BTreeMap<&Cell, (i64, Option<i64>)> = BTreeMap::new();
        for (_, region, order) in self.joined() {
            let (count, sum) = groups.entry(region).or_default();
            *count += 1;
            *sum = add(*sum, order.amount);
        }
        let row = |(region, (count, sum)): (&Cell, (i64, Option<i64>))| {
            (vec![region.clone(), Cell::Int(count), number(sum)], 1)
        };
        groups.into_iter().map(row).collect()
    }

    fn balance(&self) -> Rows {
        let (mut sum, mut count) = (None, 0);
        for (&(_, amount), &times) in &self.ledger {
            sum = add(sum, Some(amount * times));
            count += times;
        }
        [(vec![number(sum), Cell::Int(count)], 1)].into()
    }

    fn accounts(&self) -> Rows {
        let mut groups: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for (&(account, amount), &times) in &self.ledger {
            let (sum, count) = groups.entry(account).or_default();
            *sum += amount * times;
            *count += times;
        }
        let row = |(account, (sum, count))| {
            (vec![Cell::Int(account), Cell::Int(sum), Cell::Int(count)], 1)
        };
        groups.into_iter().map(row).collect()
    }
}

fn number(value: Option<i64>) -> Cell {
    value.map_or(Cell::Null, Cell::Int)
}

/// A sum over what is not NULL.
fn add(sum: Option<i64>, value: Option<i64>) -> Option<i64> {
    match value {
        Some(value) => Some(sum.unwrap_or_default() + value),
        None => sum,
    }
}
