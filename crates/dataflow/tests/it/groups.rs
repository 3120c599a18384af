//! Groups that one input of a join numbers for the aggregate above, and totals that workers send each other in parts.

use std::sync::Arc;

use arrow::datatypes::DataType;
use change::{ChangeForm, TableChanges, TableSchema};
use dataflow::{Dataflow, DataflowOptions};
use plan::ir::{AggregateFunction, JoinKind};

use crate::build::Query;
use crate::cases::{check, send};
use crate::world::{Cell, table};

const NULL: Cell = Cell::Null;

fn int(value: i64) -> Cell {
    Cell::Int(value)
}

struct Shop {
    customers: Arc<TableSchema>,
    orders: Arc<TableSchema>,
}

impl Shop {
    fn new() -> Self {
        let customer = [("id", DataType::Int64), ("region", DataType::Utf8)];
        let order = ["id", "customer", "amount"].map(|name| (name, DataType::Int64));
        Self {
            customers: table("customers", ChangeForm::Upsert, &customer),
            orders: table("orders", ChangeForm::Upsert, &order),
        }
    }

    /// How many orders each region has, and their sum.
    fn regions(&self, call: AggregateFunction) -> Query {
        let orders = Query::table(&self.orders, &[0, 1, 2]);
        let customers = Query::table(&self.customers, &[0, 1]);
        let joined = orders.join(customers, JoinKind::Inner, &[(1, 0)], None);
        let count = (AggregateFunction::Count, None, false, None);
        joined.aggregate(&[4], &[count, (call, Some(2), false, None)])
    }

    fn customer(&self, id: i64, region: &str, diff: i64) -> TableChanges {
        let region = if region.is_empty() { NULL } else { Cell::Text(region.into()) };
        send(&self.customers, &[(&[int(id), region], diff)])
    }

    fn order(&self, id: i64, customer: i64, amount: i64, diff: i64) -> TableChanges {
        send(&self.orders, &[(&[int(id), int(customer), int(amount)], diff)])
    }
}

/// The operators that do the given thing.
fn operators(dataflow: &Dataflow, name: &str) -> usize {
    let stat = dataflow.stat();
    stat.views[0].operators.iter().filter(|operator| operator.operator == name).count()
}

#[test]
fn groups_are_numbered_once_for_each_row_of_the_input_that_knows_them() {
    let shop = Shop::new();
    for call in [AggregateFunction::Sum, AggregateFunction::Max] {
        for workers in 1..=3 {
            let options = DataflowOptions { workers, ..DataflowOptions::default() };
            let mut dataflow =
                Dataflow::with_options(&[shop.regions(call).view()], &options).unwrap();
            // A greatest value has no parts that could be summed, so workers number nothing for it.
            let has_parts = call == AggregateFunction::Sum;
            assert_eq!(operators(&dataflow, "number"), usize::from(workers == 1 || has_parts));
            // Sums of a customer's orders are all that is kept of them.
            assert_eq!(operators(&dataflow, "eager aggregate"), usize::from(has_parts));
            assert_eq!(operators(&dataflow, "join"), usize::from(!has_parts));
            let others = usize::from(workers > 1 || !has_parts);
            assert_eq!(operators(&dataflow, "aggregate"), others);
            let long = "a region with a name of some length";
            let customers = [(1, "east"), (2, long), (3, ""), (4, "east")];
            let customers = customers.map(|(id, region)| shop.customer(id, region, 1));
            check(&mut dataflow, &customers, &[]);
            let orders = (1..=4).map(|id| shop.order(id, id, 10, 1)).collect::<Vec<_>>();
            let (both, one) = if has_parts { (20, 10) } else { (10, 10) };
            let (east, of_long) = (format!("east 2 {both}"), format!("{long} 1 {one}"));
            let none = format!("- 1 {one}");
            check(
                &mut dataflow,
                &orders,
                &[&format!("{none} +1"), &format!("{of_long} +1"), &format!("{east} +1")],
            );
            // A customer moves, and another one's region goes with the last who had it.
            let moves = [shop.customer(4, long, 1), shop.customer(3, "", -1)];
            let (east_left, more) = (format!("east 1 {one}"), format!("{long} 2 {both}"));
            check(
                &mut dataflow,
                &moves,
                &[
                    &format!("{none} -1"),
                    &format!("{of_long} -1"),
                    &format!("{more} +1"),
                    &format!("{east_left} +1"),
                    &format!("{east} -1"),
                ],
            );
            let mut gone: Vec<_> = (1..=4).map(|id| shop.order(id, id, 10, -1)).collect();
            gone.extend([1, 2, 4].map(|id| shop.customer(id, "", -1)));
            check(&mut dataflow, &gone, &[&format!("{more} -1"), &format!("{east_left} -1")]);
            let stat = dataflow.stat();
            let mut kept = stat.views[0].operators.iter().map(|operator| operator.state.rows);
            assert!(kept.all(|rows| rows == 0), "{stat}");
        }
    }
}

#[test]
fn a_folded_side_is_summed_by_keys_that_may_be_null_or_meet_several_rows() {
    let place = table(
        "places",
        ChangeForm::Exact,
        &[("customer", DataType::Int64), ("region", DataType::Utf8)],
    );
    let shop = Shop::new();
    let count = (AggregateFunction::Count, None, false, None);
    let sum = (AggregateFunction::Sum, Some(2), false, None);
    let joined = Query::table(&shop.orders, &[0, 1, 2]).join(
        Query::table(&place, &[0, 1]),
        JoinKind::Inner,
        &[(1, 0)],
        None,
    );
    let query = joined.aggregate(&[4], &[count, sum]);
    let at = |customer: Cell, region: &str, diff: i64| {
        send(&place, &[(&[customer, Cell::Text(region.into())], diff)])
    };
    for workers in 1..=3 {
        let options = DataflowOptions { workers, ..DataflowOptions::default() };
        let mut dataflow = Dataflow::with_options(&[query.clone().view()], &options).unwrap();
        let nobody = send(&shop.orders, &[(&[int(3), NULL, int(1)], 1)]);
        let orders = [shop.order(1, 7, 10, 1), nobody, shop.order(2, 7, 5, 1)];
        check(&mut dataflow, &orders, &[]);
        assert_eq!(operators(&dataflow, "eager aggregate"), 1);
        // The customer is at two places, at one of them three times over; NULL is at none.
        let places = [at(int(7), "east", 1), at(int(7), "west", 3), at(NULL, "nowhere", 1)];
        check(&mut dataflow, &places, &["east 2 15 +1", "west 6 45 +1"]);
        // What comes and what goes, on both sides at once.
        let both = [at(int(7), "west", -2), shop.order(2, 7, 0, -1), shop.order(4, 7, -1, 1)];
        check(
            &mut dataflow,
            &both,
            &["east 2 9 +1", "east 2 15 -1", "west 2 9 +1", "west 6 45 -1"],
        );
        let gone = [
            shop.order(1, 7, 0, -1),
            shop.order(4, 7, 0, -1),
            at(int(7), "east", -1),
            at(int(7), "west", -1),
        ];
        check(&mut dataflow, &gone, &["east 2 9 -1", "west 2 9 -1"]);
        check(&mut dataflow, &[at(int(7), "east", 1)], &[]);
        check(&mut dataflow, &[shop.order(9, 7, 2, 1)], &["east 1 2 +1"]);
    }
}

#[test]
fn totals_of_all_rows_are_sent_in_parts() {
    let shop = Shop::new();
    let count = (AggregateFunction::Count, None, false, None);
    let sum = (AggregateFunction::Sum, Some(2), false, None);
    for workers in 1..=3 {
        let query = Query::table(&shop.orders, &[0, 1, 2]).aggregate(&[], &[count, sum]);
        let options = DataflowOptions { workers, ..DataflowOptions::default() };
        let mut dataflow = Dataflow::with_options(&[query.view()], &options).unwrap();
        assert_eq!(operators(&dataflow, "aggregate"), if workers > 1 { 2 } else { 1 });
        check(&mut dataflow, &[], &["0 - +1"]);
        let orders: Vec<_> = (1..=9).map(|id| shop.order(id, id, id, 1)).collect();
        check(&mut dataflow, &orders, &["0 - -1", "9 45 +1"]);
        check(&mut dataflow, &[shop.order(9, 1, 0, 1)], &["9 36 +1", "9 45 -1"]);
        let gone: Vec<_> = (1..=9).map(|id| shop.order(id, id, 0, -1)).collect();
        check(&mut dataflow, &gone, &["0 - +1", "9 36 -1"]);
    }
}
