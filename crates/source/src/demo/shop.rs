//! The shop: its state, and what happens in it step by step.
//!
//! Invariant: after every step each order has a customer, at least one item, and each item a product. What happens
//! depends on the seed and the number of the step alone; times are computed, not read.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::words::{FAMILY_NAMES, FIRST_NAMES, KINDS, LOOKS, REGIONS, REMARKS};

/// When the shop opens: 2024-01-01 00:00 UTC, in microseconds.
const OPENING_US: i64 = 1_704_067_200_000_000;
/// The time from step to step.
const STEP_US: u64 = 47_000_000;

const FIRST_CUSTOMERS: u64 = 200;
const FIRST_PRODUCTS: u64 = 150;
const FIRST_ORDERS: u64 = 400;

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Customer {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) region: &'static str,
    pub(crate) created_at_us: i64,
}

/// Something that is sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) category: &'static str,
    pub(crate) cents: u64,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) customer_id: i64,
    pub(crate) status: Status,
    pub(crate) placed_at_us: i64,
}

/// A line of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) order_id: i64,
    pub(crate) line: i32,
    pub(crate) product_id: i64,
    pub(crate) quantity: i32,
    pub(crate) cents: u64,
}

/// Where an order is in its life: new → paid → shipped → returned, or void before it is shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    New,
    Paid,
    Shipped,
    Returned,
    Void,
}

impl Status {
    /// The status as it is written in the table.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::Returned => "returned",
            Self::Void => "void",
        }
    }
}

/// A row of one of the shop's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Customer(Customer),
    Product(Product),
    Order(Order),
    Item(Item),
}

/// What happens to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It is inserted, or replaces the row with its key.
    Set(Row),
    /// The row with its key is deleted.
    Remove(Row),
}

/// An order that may still change, with its items.
#[derive(Clone, Debug)]
struct OpenOrder {
    order: Order,
    items: Vec<Item>,
}

/// The shop as it is.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    dice: Dice,
    step: u64,
    customers: Vec<Customer>,
    products: Vec<Product>,
    /// Orders that are new, paid, or shipped and about to come back.
    open: Vec<OpenOrder>,
    /// Orders that are void and will be deleted.
    void: Vec<OpenOrder>,
    /// How many orders there are of a customer, and items of a product; those without may be deleted.
    orders_of: BTreeMap<i64, u64>,
    items_of: BTreeMap<i64, u64>,
    last_customer: i64,
    last_product: i64,
    last_order: i64,
}

impl Shop {
    /// Builds a shop before its opening: it is empty.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dice: Dice(ChaCha8Rng::seed_from_u64(seed)),
            step: 0,
            customers: Vec::new(),
            products: Vec::new(),
            open: Vec::new(),
            void: Vec::new(),
            orders_of: BTreeMap::new(),
            items_of: BTreeMap::new(),
            last_customer: 0,
            last_product: 0,
            last_order: 0,
        }
    }

    /// How many steps were made.
    pub(crate) fn step_count(&self) -> u64 {
        self.step
    }

    /// When the last step was made, in microseconds since 1970.
    pub(crate) fn now_us(&self) -> i64 {
        let us = i64::try_from(self.step.saturating_mul(STEP_US)).unwrap_or(i64::MAX / 2);
        OPENING_US + us
    }

    /// Makes the next step: one transaction. The first fills the shop.
    pub(crate) fn step(&mut self) -> Vec<Deed> {
        self.step += 1;
        if self.step == 1 {
            return self.first_stock();
        }
        let done = match self.dice.below(100) {
            0..34 => None,
            34..74 => self.advance_orders(),
            74..79 => self.change_prices(),
            79..83 => self.move_customer(),
            83..89 => Some(vec![Deed::Set(Row::Customer(self.new_customer()))]),
            89..92 => Some(vec![Deed::Set(Row::Product(self.new_product()))]),
            92..95 => self.change_item(),
            95..97 => self.delete_void_order(),
            97..99 => self.delete_customer(),
            _ => self.delete_product(),
        };
        done.unwrap_or_else(|| self.place_order())
    }

    fn first_stock(&mut self) -> Vec<Deed> {
        let mut deeds = Vec::new();
        for _ in 0..FIRST_CUSTOMERS {
            deeds.push(Deed::Set(Row::Customer(self.new_customer())));
        }
        for _ in 0..FIRST_PRODUCTS {
            deeds.push(Deed::Set(Row::Product(self.new_product())));
        }
        for _ in 0..FIRST_ORDERS {
            deeds.extend(self.place_order());
        }
        deeds
    }

    fn new_customer(&mut self) -> Customer {
        self.last_customer += 1;
        let id = self.last_customer;
        let (first, first_mail) = *self.dice.pick(FIRST_NAMES);
        let (family, family_mail) = *self.dice.pick(FAMILY_NAMES);
        let customer = Customer {
            id,
            name: format!("{first} {family}"),
            email: format!("{first_mail}.{family_mail}{id}@example.com"),
            region: self.dice.pick::<&str>(REGIONS),
            created_at_us: self.now_us(),
        };
        self.customers.push(customer.clone());
        customer
    }

    fn new_product(&mut self) -> Product {
        self.last_product += 1;
        // In turn, not by chance, so that few names are there twice.
        let turn = usize::try_from(self.last_product - 1).expect("ids ascend from 1");
        let (kind, round) = (&KINDS[turn % KINDS.len()], turn / KINDS.len());
        let look = LOOKS[(turn + round) % LOOKS.len()];
        let material = kind.materials[round % kind.materials.len()];
        let remark = self.dice.pick(REMARKS);
        let noun = kind.noun;
        let cents = kind.cents * (70 + self.dice.below(80)) / 100;
        let product = Product {
            id: self.last_product,
            name: format!("{look} {material} {noun}"),
            description: format!("This {material} {noun} {}. {remark}", kind.purpose),
            category: kind.category,
            cents,
        };
        self.products.push(product.clone());
        product
    }

    fn place_order(&mut self) -> Vec<Deed> {
        self.last_order += 1;
        let customer_id = self.dice.pick(&self.customers).id;
        let order = Order {
            id: self.last_order,
            customer_id,
            status: Status::New,
            placed_at_us: self.now_us(),
        };
        *self.orders_of.entry(customer_id).or_default() += 1;
        let mut deeds = vec![Deed::Set(Row::Order(order.clone()))];
        let mut items = Vec::new();
        let mut bought = BTreeSet::new();
        for _ in 0..=self.dice.below(4) {
            let product = self.dice.pick(&self.products);
            if !bought.insert(product.id) {
                continue;
            }
            let line = i32::try_from(items.len() + 1).expect("at most four lines");
            let quantity = 1 + i32::try_from(self.dice.below(3)).expect("below 3");
            let (product_id, cents) = (product.id, product.cents);
            let item = Item { order_id: order.id, line, product_id, quantity, cents };
            *self.items_of.entry(product_id).or_default() += 1;
            deeds.push(Deed::Set(Row::Item(item.clone())));
            items.push(item);
        }
        self.open.push(OpenOrder { order, items });
        deeds
    }

    /// Up to three orders go on together.
    fn advance_orders(&mut self) -> Option<Vec<Deed>> {
        let mut deeds = Vec::new();
        for _ in 0..=self.dice.below(3) {
            if self.open.is_empty() {
                break;
            }
            let at = self.dice.index(self.open.len());
            let next = match (self.open[at].order.status, self.dice.below(100)) {
                (Status::New, 0..15) | (Status::Paid, 0..4) => Status::Void,
                (Status::New, _) => Status::Paid,
                (Status::Paid, _) => Status::Shipped,
                (Status::Shipped | Status::Returned | Status::Void, _) => Status::Returned,
            };
            self.open[at].order.status = next;
            deeds.push(Deed::Set(Row::Order(self.open[at].order.clone())));
            match next {
                Status::New | Status::Paid => {}
                Status::Void => {
                    let order = self.open.swap_remove(at);
                    self.void.push(order);
                }
                // Few come back; of the others nothing is heard again.
                Status::Shipped if self.dice.below(100) < 12 => {}
                Status::Shipped | Status::Returned => drop(self.open.swap_remove(at)),
            }
        }
        // The same order may have gone on twice; its last state is what the transaction leaves.
        (!deeds.is_empty()).then_some(deeds)
    }

    fn change_prices(&mut self) -> Option<Vec<Deed>> {
        let mut deeds = Vec::new();
        let category = self.dice.pick(KINDS).category;
        let percent = 90 + self.dice.below(21);
        for product in self.products.iter_mut().filter(|product| product.category == category) {
            if self.dice.below(10) == 0 {
                product.cents = (product.cents * percent / 100).clamp(100, 99_999_900);
                deeds.push(Deed::Set(Row::Product(product.clone())));
            }
        }
        (!deeds.is_empty()).then_some(deeds)
    }

    fn move_customer(&mut self) -> Option<Vec<Deed>> {
        let at = self.dice.index(self.customers.len());
        let region = *self.dice.pick(REGIONS);
        let customer = &mut self.customers[at];
        if customer.region == region {
            return None;
        }
        customer.region = region;
        Some(vec![Deed::Set(Row::Customer(customer.clone()))])
    }

    /// A new order gets another quantity of an item, or loses its last item but not its only one.
    fn change_item(&mut self) -> Option<Vec<Deed>> {
        let at = self.dice.index(self.open.len().max(1));
        let open = self.open.get_mut(at).filter(|open| open.order.status == Status::New)?;
        if open.items.len() > 1 && self.dice.below(3) == 0 {
            let item = open.items.pop()?;
            release(&mut self.items_of, item.product_id);
            return Some(vec![Deed::Remove(Row::Item(item))]);
        }
        let at = self.dice.index(open.items.len());
        let item = &mut open.items[at];
        item.quantity = item.quantity % 5 + 1;
        Some(vec![Deed::Set(Row::Item(item.clone()))])
    }

    fn delete_void_order(&mut self) -> Option<Vec<Deed>> {
        if self.void.is_empty() {
            return None;
        }
        let at = self.dice.index(self.void.len());
        let OpenOrder { order, items } = self.void.swap_remove(at);
        release(&mut self.orders_of, order.customer_id);
        let mut deeds = Vec::new();
        for item in items {
            release(&mut self.items_of, item.product_id);
            deeds.push(Deed::Remove(Row::Item(item)));
        }
        deeds.push(Deed::Remove(Row::Order(order)));
        Some(deeds)
    }

    fn delete_customer(&mut self) -> Option<Vec<Deed>> {
        let without = |customer: &Customer| !self.orders_of.contains_key(&customer.id);
        let at = self.customers.iter().position(without)?;
        (self.customers.len() > 1)
            .then(|| vec![Deed::Remove(Row::Customer(self.customers.swap_remove(at)))])
    }

    fn delete_product(&mut self) -> Option<Vec<Deed>> {
        let without = |product: &Product| !self.items_of.contains_key(&product.id);
        let at = self.products.iter().position(without)?;
        (self.products.len() > 1)
            .then(|| vec![Deed::Remove(Row::Product(self.products.swap_remove(at)))])
    }
}

/// Counts one less; what has none is forgotten.
fn release(counts: &mut BTreeMap<i64, u64>, id: i64) {
    let count = counts.get_mut(&id).expect("what is released was counted");
    *count -= 1;
    if *count == 0 {
        counts.remove(&id);
    }
}

/// Chance, the same in every run and with every version of the libraries.
#[derive(Clone, Debug)]
struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }
}
