//! Customers and their orders, as change data capture gives them: the row before and the row after.
//!
//! First everything is inserted. Then, of twenty updates, eighteen give an order another amount and status, one deletes
//! an order and makes a new one, and one moves a customer to another region.

use crate::Random;

const REGIONS: u64 = 50;
const AMOUNTS: i64 = 100_000;

/// A customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Customer {
    /// Counts from 0.
    pub id: i64,
    /// The region's number; [`region`](Self::region) has its name.
    pub region_number: u64,
}

impl Customer {
    /// The customer's name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("customer {}", self.id)
    }

    /// The region's name.
    #[must_use]
    pub fn region(&self) -> String {
        format!("region-{}", self.region_number)
    }
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Counts from 0.
    pub id: i64,
    /// The customer who ordered.
    pub customer_id: i64,
    /// How far it is.
    pub status: Status,
    /// What it costs.
    pub amount: i64,
    /// The note's number; [`note`](Self::note) has its text.
    pub note_number: u64,
}

impl Order {
    /// The note.
    #[must_use]
    pub fn note(&self) -> String {
        format!("note {:016x}", self.note_number)
    }
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was made.
    New,
    /// It was paid.
    Paid,
    /// It was sent.
    Shipped,
    /// It arrived.
    Done,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::Done => "done",
        }
    }
}

/// A change of a row: what was, and what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Of a customer.
    Customer(Option<Customer>, Option<Customer>),
    /// Of an order.
    Order(Option<Order>, Option<Order>),
}

/// Customers and orders as they are, and how they go on.
#[derive(Clone, Debug)]
pub struct Cdc {
    random: Random,
    customers: Vec<Customer>,
    orders: Vec<Order>,
    next_order: i64,
}

impl Cdc {
    /// Begins with so many customers and orders.
    #[must_use]
    pub fn new(customers: i64, orders: i64) -> Self {
        let mut random = Random::new(42);
        let customer = |id| Customer { id, region_number: random.below(REGIONS) };
        let customers: Vec<Customer> = (0..customers).map(customer).collect();
        let mut cdc = Self { random, customers, orders: Vec::new(), next_order: 0 };
        cdc.orders = (0..orders).map(|_| cdc.new_order()).collect();
        cdc
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.customers.len() + self.orders.len()
    }

    /// The inserts that bring everything to where it is: customers first.
    pub fn load(&self) -> impl Iterator<Item = Change> {
        let customers = self.customers.iter().map(|&row| Change::Customer(None, Some(row)));
        customers.chain(self.orders.iter().map(|&row| Change::Order(None, Some(row))))
    }

    /// Updates once more; one that makes a new order is two changes.
    pub fn update(&mut self) -> (Change, Option<Change>) {
        match self.random.below(20) {
            0 => (self.move_customer(), None),
            1 => {
                let at = self.order_place();
                let new = self.new_order();
                let old = std::mem::replace(&mut self.orders[at], new);
                (Change::Order(Some(old), None), Some(Change::Order(None, Some(new))))
            }
            _ => (self.update_order(), None),
        }
    }

    fn move_customer(&mut self) -> Change {
        let at = self.random.below(self.customers.len() as u64);
        let row = &mut self.customers[usize::try_from(at).expect("below a length")];
        let old = *row;
        row.region_number = self.random.below(REGIONS);
        Change::Customer(Some(old), Some(*row))
    }

    fn update_order(&mut self) -> Change {
        let at = self.order_place();
        let row = &mut self.orders[at];
        let old = *row;
        row.amount = self.random.int_below(AMOUNTS);
        row.status = self.random.one_of(&[Status::Paid, Status::Shipped, Status::Done]);
        Change::Order(Some(old), Some(*row))
    }

    fn order_place(&mut self) -> usize {
        usize::try_from(self.random.below(self.orders.len() as u64)).expect("below a length")
    }

    fn new_order(&mut self) -> Order {
        let id = self.next_order;
        self.next_order += 1;
        let customers = i64::try_from(self.customers.len()).expect("customers fit in memory");
        Order {
            id,
            customer_id: self.random.int_below(customers),
            status: Status::New,
            amount: self.random.int_below(AMOUNTS),
            note_number: self.random.any(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::QUICK;

    #[test]
    fn changes_lead_to_the_answer_that_was_computed_apart() {
        let mut cdc = Cdc::new(QUICK.customers, QUICK.orders);
        assert_eq!(cdc.load().count(), cdc.rows());
        let seconds = (0..QUICK.updates).filter(|_| cdc.update().1.is_some()).count();
        assert_eq!(QUICK.updates + seconds, QUICK.update_changes);
        // Every order has a customer, so the sum over regions is the sum over orders.
        let answer: i64 = cdc.orders.iter().map(|order| 7 + order.amount).sum();
        assert_eq!(answer, QUICK.qc);
    }
}
