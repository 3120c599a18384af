//! Tests of the demo shop: it is the same for the same seed, and never half a transaction.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::shop::{Customer, Deed, Item, Order, Product, Row, Status};
use super::*;
use crate::testing::{check_conformance, run_url};

/// The tables as somebody sees them who applies every transaction.
#[derive(Default)]
struct Copy {
    customers: BTreeMap<i64, Customer>,
    products: BTreeMap<i64, Product>,
    orders: BTreeMap<i64, Order>,
    items: BTreeMap<(i64, i32), Item>,
    updates: usize,
    removals: usize,
}

impl Copy {
    fn apply(&mut self, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Set(row) => self.set(row),
                Deed::Remove(row) => {
                    self.removals += 1;
                    let was_there = match row {
                        Row::Customer(row) => self.customers.remove(&row.id).is_some(),
                        Row::Product(row) => self.products.remove(&row.id).is_some(),
                        Row::Order(row) => self.orders.remove(&row.id).is_some(),
                        Row::Item(row) => self.items.remove(&(row.order_id, row.line)).is_some(),
                    };
                    assert!(was_there, "only what is there is removed");
                }
            }
        }
    }

    fn set(&mut self, row: Row) {
        let is_update = match row {
            Row::Customer(row) => self.customers.insert(row.id, row).is_some(),
            Row::Product(row) => self.products.insert(row.id, row).is_some(),
            Row::Item(row) => self.items.insert((row.order_id, row.line), row).is_some(),
            Row::Order(row) => {
                let old = self.orders.insert(row.id, row.clone());
                if let Some(old) = &old {
                    let path = (old.status, row.status);
                    let is_allowed = matches!(
                        path,
                        (Status::New, Status::Paid | Status::Void)
                            | (Status::Paid, Status::Shipped | Status::Void)
                            | (Status::Shipped, Status::Returned)
                    );
                    assert!(is_allowed, "an order does not go {path:?}");
                }
                old.is_some()
            }
        };
        self.updates += usize::from(is_update);
    }

    fn check(&self) {
        for item in self.items.values() {
            assert!(self.orders.contains_key(&item.order_id), "an item has an order");
            assert!(self.products.contains_key(&item.product_id), "an item has a product");
            assert!(item.quantity > 0 && item.cents > 0);
        }
        for order in self.orders.values() {
            assert!(self.customers.contains_key(&order.customer_id), "an order has a customer");
            let items = self.items.range((order.id, 0)..=(order.id, i32::MAX)).count();
            assert!(items > 0, "an order has an item");
        }
    }
}

#[test]
fn the_shop_is_whole_after_every_transaction() {
    let (mut shop, mut copy) = (Shop::new(42), Copy::default());
    for step in 1..=3_000 {
        let deeds = shop.step();
        assert!(!deeds.is_empty(), "every step changes something");
        copy.apply(deeds);
        if step % 50 == 1 {
            copy.check();
        }
    }
    copy.check();
    assert!(copy.updates > 1_000, "{} updates", copy.updates);
    assert!(copy.removals > 100, "{} removals", copy.removals);
    assert!(copy.products.values().any(|p| p.name == "Blue ceramic teapot"));
    for status in [Status::New, Status::Paid, Status::Shipped, Status::Returned, Status::Void] {
        assert!(copy.orders.values().any(|order| order.status == status), "{status:?}");
    }
}

#[test]
fn open_orders_do_not_pile_up() {
    let mut shop = Shop::new(7);
    let mut last = BTreeMap::new();
    for _ in 0..20_000 {
        for deed in shop.step() {
            if let Deed::Set(Row::Order(order)) = deed {
                last.insert(order.id, order.status);
            }
        }
    }
    let open = last.values().filter(|s| matches!(s, Status::New | Status::Paid)).count();
    assert!(open < 1_500, "{open} orders are open");
}

#[test]
fn another_seed_is_another_shop() {
    assert_eq!(Shop::new(1).step(), Shop::new(1).step());
    assert_ne!(Shop::new(1).step(), Shop::new(2).step());
}

#[tokio::test]
async fn the_source_is_the_same_twice_and_resumes_behind_every_group() {
    let unpaced = check_conformance("demo", &[("rate", "0"), ("limit", "3500")]).await;
    assert_eq!(unpaced.groups.len(), 5, "the stock, three full groups, and the rest");
    let heads: usize = unpaced.groups.iter().map(|group| group.heads().len()).sum();
    assert_eq!(heads, 3_501, "each step is a transaction");
}

#[tokio::test]
async fn the_rate_paces_transactions_without_changing_them() {
    let resume = Resume::default;
    let begin = Instant::now();
    let options = [("rate", "100"), ("limit", "30")];
    let paced = run_url("demo", &options, resume()).await.unwrap();
    let seconds = begin.elapsed().as_secs_f64();
    assert!(seconds >= 0.29, "30 transactions at 100 a second took {seconds} s");
    assert_eq!(paced.groups.len(), 31);
    let unpaced = run_url("demo", &[("rate", "0"), ("limit", "30")], resume()).await.unwrap();
    let heads = |ran: &crate::testing::Ran| {
        ran.groups.iter().flat_map(|group| group.heads().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(heads(&paced), heads(&unpaced));
}

#[tokio::test]
async fn once_ends_a_shop_without_limit() {
    let ran = run_url("demo", &[], Resume::default()).await.unwrap();
    let last = ran.groups.last().unwrap().heads().last().unwrap().position;
    assert_eq!(last, Some(SourcePosition::Step(1_001)));
    let again = run_url("demo", &[], ran.resume_behind(ran.groups.len())).await;
    assert!(again.unwrap().groups.is_empty());
}

#[tokio::test]
async fn wrong_options_are_refused() {
    for (option, value) in [("rate", "-1"), ("rate", "NaN"), ("seed", "x"), ("sed", "1")] {
        let error = run_url("demo", &[(option, value)], Resume::default()).await.unwrap_err();
        assert_eq!(error.code(), "SRC012", "{option} = {value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_replayed_shop_goes_on_as_the_first(seed: u64, step in 0_u64..400) {
        let mut first = replay(seed, step);
        let mut second = replay(seed, step / 2);
        while second.step_count() < step {
            drop(second.step());
        }
        for _ in 0..20 {
            prop_assert_eq!(first.step(), second.step());
        }
    }
}
