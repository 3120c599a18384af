//! TPC-H's and Nexmark's queries, all of a suite maintained at once: each equals its batch after every step.
//!
//! Rows of all tables come and go at random. A table's rows are known from the start; each is there or is not.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchReader, StringArray, UInt32Array,
};
use arrow::compute::{cast, concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use change::{ChangeBatch, ChangeForm, TableChanges, TableName, TableSchema};
use dataflow::{Dataflow, DataflowOptions};
use inputs::{Event, NEXMARK, Nexmark, TPCH};
use plan::{Batch, Catalog};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

use crate::property::{Held, comparable, nullable, show};
use crate::world::Random;

/// A table, all rows that it may hold, and which of them it holds.
struct Rows {
    table: Arc<TableSchema>,
    all: RecordBatch,
    held: Vec<bool>,
}

/// How a suite is run.
struct Run {
    workers: usize,
    /// Rows come and never go, and the engine is told.
    append_only: bool,
}

impl Rows {
    fn new(name: &str, key: &[usize], all: RecordBatch) -> Self {
        let name = TableName::new("suite", name);
        let table = TableSchema::new(name, all.schema(), key.to_vec(), ChangeForm::Exact);
        let held = vec![false; all.num_rows()];
        Self { table: Arc::new(table), all, held }
    }

    /// Lets one row in `one_in` come or go.
    fn change(&mut self, random: &mut Random, one_in: usize, may_go: bool) -> TableChanges {
        let (mut places, mut diffs) = (Vec::new(), Vec::new());
        for (at, held) in self.held.iter_mut().enumerate() {
            if random.one_in(one_in) && (may_go || !*held) {
                *held = !*held;
                places.push(u32::try_from(at).unwrap());
                diffs.push(if *held { 1 } else { -1 });
            }
        }
        let rows = take_record_batch(&self.all, &UInt32Array::from(places)).unwrap();
        let end = u32::try_from(diffs.len()).unwrap();
        let batch = ChangeBatch::new(rows, Int64Array::from(diffs));
        TableChanges::new(Arc::clone(&self.table), batch, vec![end], vec![])
    }

    fn now(&self) -> RecordBatch {
        filter_record_batch(&self.all, &BooleanArray::from(self.held.clone())).unwrap()
    }
}

/// Maintains the queries over random changes; returns the names of those that never showed a row.
fn maintain(queries: &[(String, &str)], tables: &mut [Rows], run: &Run) -> Vec<String> {
    let views = queries.iter().map(|(name, query)| format!("create view {name} as {query};\n"));
    let script = plan::parse(&views.collect::<String>()).unwrap();
    let schemas: Vec<_> = tables.iter().map(|rows| Arc::clone(&rows.table)).collect();
    let catalog = Catalog { tables: schemas, ..Catalog::default() };
    let mut batch = Batch::new(&script, &catalog).unwrap_or_else(|error| panic!("{error}"));
    let views = batch.program().views.clone();
    let names: BTreeSet<_> = tables.iter().map(|rows| rows.table.name().clone()).collect();
    let options = DataflowOptions {
        workers: run.workers,
        append_only: if run.append_only { names.clone() } else { BTreeSet::new() },
        never_truncated: names,
        ..DataflowOptions::default()
    };
    let mut dataflow = Dataflow::with_options(&views, &options).unwrap();
    let mut held: Vec<Held> = views.iter().map(|v| Held::new(nullable(&v.schema))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut random = Random::new(run.workers as u64);
    let mut shown = BTreeSet::new();
    // Half of all rows first, then some of each table.
    for (step, one_in) in [2, 20, 7, 50].into_iter().enumerate() {
        for rows in &mut *tables {
            let changes = rows.change(&mut random, one_in, !run.append_only);
            dataflow.push(&[changes]).unwrap();
        }
        for (view, difference) in dataflow.finish_step().unwrap() {
            held[view].add(&difference);
        }
        assert_eq!(format!("{:?}", dataflow.take_faults()), "[]");
        let now = tables.iter().map(|rows| (rows.table.name().clone(), vec![rows.now()]));
        let right = runtime.block_on(batch.run(now.collect())).unwrap();
        for ((held, view), (_, rows)) in held.iter().zip(&views).zip(right) {
            let (schema, name) = (held.rows.schema(), &view.name);
            let rows = concat_batches(&view.schema, &rows).unwrap();
            let should = comparable(&ChangeBatch::inserts(rows), &schema);
            let is = comparable(&held.rows, &schema);
            if is != should {
                let (is, should) = (show(&is), show(&should));
                panic!("{name}, step {step}, {} workers\n{is}\n{should}", run.workers);
            }
            if !is.is_empty() {
                shown.insert(name.clone());
            }
        }
    }
    views.into_iter().map(|view| view.name).filter(|name| !shown.contains(name)).collect()
}

fn tpch_table(name: &str, key: &[usize], generated: impl RecordBatchReader) -> Rows {
    let plain = |of: &DataType| match of {
        DataType::Utf8View => DataType::Utf8,
        of => of.clone(),
    };
    let fields = generated.schema().fields().clone();
    let fields = fields.iter().map(|f| Field::new(f.name(), plain(f.data_type()), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batches = generated.map(|batch| {
        let batch = batch.unwrap();
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap());
        RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
    });
    let batches: Vec<RecordBatch> = batches.collect();
    Rows::new(name, key, concat_batches(&schema, &batches).unwrap())
}

fn tpch_tables(scale: f64) -> Vec<Rows> {
    vec![
        tpch_table("region", &[0], RegionArrow::new(RegionGenerator::new(scale, 1, 1))),
        tpch_table("nation", &[0], NationArrow::new(NationGenerator::new(scale, 1, 1))),
        tpch_table("supplier", &[0], SupplierArrow::new(SupplierGenerator::new(scale, 1, 1))),
        tpch_table("part", &[0], PartArrow::new(PartGenerator::new(scale, 1, 1))),
        tpch_table("partsupp", &[0, 1], PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1))),
        tpch_table("customer", &[0], CustomerArrow::new(CustomerGenerator::new(scale, 1, 1))),
        tpch_table("orders", &[0], OrderArrow::new(OrderGenerator::new(scale, 1, 1))),
        tpch_table("lineitem", &[0, 3], LineItemArrow::new(LineItemGenerator::new(scale, 1, 1))),
    ]
}

/// Rows of one of Nexmark's tables, from the values of a column each.
fn nexmark_table(name: &str, key: &[usize], columns: Vec<(&str, ArrayRef)>) -> Rows {
    let fields = columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    Rows::new(name, key, RecordBatch::try_new(schema, columns).unwrap())
}

/// Nexmark's first events. Times pass faster than the generator lets them, so that there are some windows.
fn nexmark_tables(events: usize) -> Vec<Rows> {
    const FASTER: i64 = 20;
    let (mut people, mut auctions, mut bids) = (Vec::new(), Vec::new(), Vec::new());
    for event in Nexmark::new().take(events) {
        match event {
            Event::Person(person) => people.push(person),
            Event::Auction(auction) => auctions.push(auction),
            Event::Bid(bid) => bids.push(bid),
        }
    }
    fn ints<T>(rows: &[T], of: impl Fn(&T) -> i64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(of)))
    }
    fn texts<T>(rows: &[T], of: impl Fn(&T) -> String) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    }
    let person = vec![
        ("id", ints(&people, |p| p.id)),
        ("name", texts(&people, |p| p.name.clone())),
        ("email", texts(&people, |p| p.email.clone())),
        ("city", texts(&people, |p| p.city.clone())),
        ("state", texts(&people, |p| p.state.to_owned())),
        ("date_time", ints(&people, |p| p.date_time * FASTER)),
    ];
    let auction = vec![
        ("id", ints(&auctions, |a| a.id)),
        ("item_name", texts(&auctions, |a| a.item_name.clone())),
        ("initial_bid", ints(&auctions, |a| a.initial_bid)),
        ("reserve", ints(&auctions, |a| a.reserve)),
        ("date_time", ints(&auctions, |a| a.date_time * FASTER)),
        ("expires", ints(&auctions, |a| a.expires * FASTER)),
        ("seller", ints(&auctions, |a| a.seller)),
        ("category", ints(&auctions, |a| a.category)),
    ];
    let bid = vec![
        ("auction", ints(&bids, |b| b.auction)),
        ("bidder", ints(&bids, |b| b.bidder)),
        ("price", ints(&bids, |b| b.price)),
        ("channel", texts(&bids, |b| b.channel.to_owned())),
        ("url", texts(&bids, inputs::Bid::url)),
        ("date_time", ints(&bids, |b| b.date_time * FASTER)),
    ];
    vec![
        nexmark_table("person", &[0], person),
        nexmark_table("auction", &[0], auction),
        nexmark_table("bid", &[], bid),
    ]
}

#[test]
fn every_query_of_tpch_equals_its_batch_after_every_step() {
    let queries: Vec<(String, &str)> =
        (1..).zip(TPCH).map(|(number, query)| (format!("q{number}"), query)).collect();
    for workers in [1, 2] {
        let run = Run { workers, append_only: false };
        let never = maintain(&queries, &mut tpch_tables(0.004), &run);
        println!("no row was ever in {never:?}");
        assert!(never.len() <= 8, "too many never showed a row: {never:?}");
    }
}

#[test]
fn every_query_of_nexmark_equals_its_batch_after_every_step() {
    let queries: Vec<(String, &str)> =
        NEXMARK.into_iter().map(|(name, query)| (name.to_owned(), query)).collect();
    for (workers, append_only) in [(1, false), (1, true), (3, false), (2, true)] {
        let run = Run { workers, append_only };
        let never = maintain(&queries, &mut nexmark_tables(4_000), &run);
        assert!(never.is_empty(), "these never showed a row: {never:?}");
    }
}
