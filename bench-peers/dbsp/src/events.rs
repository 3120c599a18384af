//! The queries over Nexmark's events.

use std::collections::BTreeMap;
use std::time::Instant;

use dbsp::operator::Max;
use dbsp::utils::{Tup2, Tup3, Tup4};
use dbsp::{OrdIndexedZSet, RootCircuit, Stream, ZSetHandle, ZWeight};
use feldera_sqllib::SqlString;
use inputs::{Auction, Bid, Event, Nexmark, Person, STEP};

use crate::flow::{Rows, Values, each, keep, start, stop};
use crate::{Figure, Outcome, Run};

/// A step's rows of one table.
type Batch<T> = Vec<Tup2<T, ZWeight>>;

/// What a query reads of each kind of event.
struct Narrow<P, A, B> {
    person: fn(Person) -> Option<P>,
    auction: fn(Auction) -> Option<A>,
    bid: fn(Bid) -> Option<B>,
}

/// A step's rows of the three tables.
struct Step<P, A, B> {
    people: Batch<P>,
    auctions: Batch<A>,
    bids: Batch<B>,
}

impl<P, A, B> Narrow<P, A, B> {
    fn steps(&self, events: usize) -> Vec<Step<P, A, B>> {
        let mut nexmark = Nexmark::new();
        let step = |_| {
            let mut step = Step { people: Vec::new(), auctions: Vec::new(), bids: Vec::new() };
            for event in nexmark.by_ref().take(STEP) {
                match event {
                    Event::Person(row) => step.people.extend((self.person)(row).map(inserted)),
                    Event::Auction(row) => step.auctions.extend((self.auction)(row).map(inserted)),
                    Event::Bid(row) => step.bids.extend((self.bid)(row).map(inserted)),
                }
            }
            step.people.shrink_to_fit();
            step.auctions.shrink_to_fit();
            step.bids.shrink_to_fit();
            step
        };
        (0..events / STEP).map(step).collect()
    }
}

fn inserted<T>(row: T) -> Tup2<T, ZWeight> {
    Tup2(row, 1)
}

fn none<T, U>(_row: T) -> Option<U> {
    None
}

fn rate(name: &'static str, events: usize, since: Instant) -> Figure {
    Figure { name, value: events as f64 / since.elapsed().as_secs_f64(), unit: "events/s" }
}

type Priced = Tup4<i64, i64, i64, i64>;

fn q1_circuit(circuit: &mut RootCircuit) -> (ZSetHandle<Priced>, Rows<Priced>) {
    let (bids, input) = circuit.add_input_zset::<Priced>();
    let euro = bids.map(|bid| Tup4(bid.0, bid.1, bid.2 * 908 / 1000, bid.3));
    (input, euro.accumulate_output())
}

/// `SELECT auction, bidder, price * 908 / 1000, date_time FROM bid`.
pub(crate) fn q1(run: Run) -> Outcome {
    let (mut circuit, (input, output)) = start(run.workers, q1_circuit)?;
    let narrow = Narrow {
        person: none::<Person, ()>,
        auction: none::<Auction, ()>,
        bid: |bid| Some(Tup4(bid.auction, bid.bidder, bid.price, bid.date_time)),
    };
    let mut steps = narrow.steps(run.scale.events);
    let (mut rows, mut sum) = (0, 0);
    let since = Instant::now();
    for step in &mut steps {
        input.append(&mut step.bids);
        circuit.transaction()?;
        each(&output, |row, weight| {
            rows += weight;
            sum += row.2 * weight;
        });
    }
    let figure = rate("q1", run.scale.events, since);
    stop(circuit)?;
    if (rows, sum) != run.scale.q1 {
        return Err(format!("wrong: {rows} rows, sum {sum}").into());
    }
    Ok(vec![figure])
}

type Located = Tup4<i64, SqlString, SqlString, SqlString>;
type Sold = Tup3<i64, i64, i64>;
type Found = Tup4<SqlString, SqlString, SqlString, i64>;

fn q3_circuit(circuit: &mut RootCircuit) -> (ZSetHandle<Located>, ZSetHandle<Sold>, Rows<Found>) {
    let (people, people_input) = circuit.add_input_zset::<Located>();
    let (auctions, auctions_input) = circuit.add_input_zset::<Sold>();
    let people = people.flat_map_index(|person| {
        let wanted = matches!(person.3.str(), "OR" | "ID" | "CA");
        wanted.then(|| (person.0, Tup3(person.1.clone(), person.2.clone(), person.3.clone())))
    });
    let auctions =
        auctions.flat_map_index(|auction| (auction.2 == 10).then_some((auction.1, auction.0)));
    let found = auctions.join(&people, |_seller, id, person| {
        Tup4(person.0.clone(), person.1.clone(), person.2.clone(), *id)
    });
    (people_input, auctions_input, found.accumulate_output())
}

/// `SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id WHERE a.category = 10 AND
/// p.state IN ('OR', 'ID', 'CA')`.
pub(crate) fn q3(run: Run) -> Outcome {
    let (mut circuit, (people, auctions, output)) = start(run.workers, q3_circuit)?;
    let narrow = Narrow {
        person: |row| Some(Tup4(row.id, row.name.into(), row.city.into(), row.state.into())),
        auction: |row| Some(Tup3(row.id, row.seller, row.category)),
        bid: none::<Bid, ()>,
    };
    let mut steps = narrow.steps(run.scale.events);
    let mut rows = 0;
    let since = Instant::now();
    for step in &mut steps {
        people.append(&mut step.people);
        auctions.append(&mut step.auctions);
        circuit.transaction()?;
        each(&output, |_, weight| rows += weight);
    }
    let figure = rate("q3", run.scale.events, since);
    stop(circuit)?;
    if rows != run.scale.q3 {
        return Err(format!("wrong: {rows} rows").into());
    }
    Ok(vec![figure])
}

/// What is known of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Facts {
    /// Rows are only ever added, so a maximum is one value.
    AppendOnly,
    /// Nothing.
    Unknown,
}

type Open = Tup4<i64, i64, i64, i64>;
type Offer = Tup3<i64, i64, i64>;
type Means = Values<i64, Tup2<i64, i64>>;

fn q4_circuit(
    circuit: &mut RootCircuit,
    facts: Facts,
) -> (ZSetHandle<Open>, ZSetHandle<Offer>, Means) {
    let (auctions, auctions_input) = circuit.add_input_zset::<Open>();
    let (bids, bids_input) = circuit.add_input_zset::<Offer>();
    let auctions = auctions.map_index(|auction| (auction.0, Tup3(auction.1, auction.2, auction.3)));
    let bids = bids.map_index(|bid| (bid.0, Tup2(bid.1, bid.2)));
    let joined = auctions.join_index(&bids, |id, auction, bid| {
        let (Tup3(category, from, to), Tup2(price, at)) = (auction, bid);
        (at >= from && at <= to).then_some((Tup2(*id, *category), *price))
    });
    let highest: Stream<_, OrdIndexedZSet<Tup2<i64, i64>, i64>> = match facts {
        Facts::AppendOnly => {
            joined.chain_aggregate(|price, _weight| *price, |max, price, _weight| max.max(*price))
        }
        Facts::Unknown => joined.aggregate(Max),
    };
    let means = highest
        .map_index(|(auction, price)| (auction.1, *price))
        .aggregate_linear_postprocess(|price| Tup2(*price, 1_i64), |sum_and_count| sum_and_count);
    (auctions_input, bids_input, means.accumulate_output())
}

/// `SELECT category, AVG(final) FROM (SELECT a.id, a.category, MAX(b.price) AS final FROM auction a JOIN bid b ON
/// a.id = b.auction WHERE b.date_time BETWEEN a.date_time AND a.expires GROUP BY a.id, a.category) GROUP BY category`,
/// append-only tables.
pub(crate) fn q4(run: Run) -> Outcome {
    q4_with(run, Facts::AppendOnly, "q4")
}

/// The same, nothing known of the tables.
pub(crate) fn q4_blind(run: Run) -> Outcome {
    q4_with(run, Facts::Unknown, "q4-blind")
}

fn q4_with(run: Run, facts: Facts, name: &'static str) -> Outcome {
    let (mut circuit, (auctions, bids, output)) =
        start(run.workers, move |circuit| q4_circuit(circuit, facts))?;
    let narrow = Narrow {
        person: none::<Person, ()>,
        auction: |row| Some(Tup4(row.id, row.category, row.date_time, row.expires)),
        bid: |row| Some(Tup3(row.auction, row.price, row.date_time)),
    };
    let mut steps = narrow.steps(run.scale.events);
    let mut view = BTreeMap::new();
    let since = Instant::now();
    for step in &mut steps {
        auctions.append(&mut step.auctions);
        bids.append(&mut step.bids);
        circuit.transaction()?;
        keep(&mut view, &output);
    }
    let figure = rate(name, run.scale.events, since);
    stop(circuit)?;
    let seen = view.iter().map(|(&category, mean)| (category, mean.0, mean.1));
    if !seen.clone().eq(run.scale.q4) {
        return Err(format!("wrong: {:?}", seen.collect::<Vec<_>>()).into());
    }
    Ok(vec![figure])
}
