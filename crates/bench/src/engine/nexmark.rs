//! Nexmark's queries on one core, beside the best published figure for each.
//!
//! The queries are the suite's, in our dialect: times are milliseconds, tumbling and hopping windows are groups by
//! truncated times, and `count_char` is counted by what a replacement removes. Each is compared with the batch answer
//! over the first events; then all events are timed.

use std::sync::Arc;

use change::{ChangeBatch, TableSchema, consolidate};
use inputs::STEP;

use super::flow::{Flow, rate};
use super::rows::Facts;
use super::seen::Rows;
use super::steps::{Step, Tables, nexmark_steps, nexmark_tables};
use super::{batch, scale};
use crate::figure::Figure;
use crate::{Maybe, Outcome, Size};

/// The steps over which an answer is compared with the batch's.
const CHECKED_STEPS: usize = 20;

/// A query, and the best figure that is published for it.
struct Query {
    name: &'static str,
    sql: &'static str,
    /// Whose figure, and thousands of events per second and core.
    best: Option<(&'static str, f64)>,
}

const FELDERA: &str = "Feldera 2024, per worker";
const ALIBABA: &str = "Alibaba Flash 2026, per CU";

const QUERIES: [Query; 17] = [
    Query {
        name: "q0",
        sql: "select auction, bidder, price, date_time from bid",
        best: Some((ALIBABA, 810.0)),
    },
    Query {
        name: "q1",
        sql: "select auction, bidder, 0.908 * price as price, date_time from bid",
        best: Some((ALIBABA, 810.0)),
    },
    Query {
        name: "q2",
        sql: "select auction, price from bid where auction % 123 = 0",
        best: Some((ALIBABA, 810.0)),
    },
    Query { name: "q3", sql: super::queries::Q3, best: Some((FELDERA, 413.0)) },
    Query { name: "q4", sql: super::queries::Q4, best: Some((FELDERA, 265.0)) },
    Query {
        name: "q5",
        sql: "with counts as (
                select b.auction, b.date_time / 2000 - hop.back as period, count(*) as num
                from bid b cross join (values (0), (1), (2), (3), (4)) as hop(back)
                group by b.auction, b.date_time / 2000 - hop.back
            )
            select c.auction, c.num from counts c
            join (select period, max(num) as most from counts group by period) m
            on c.period = m.period and c.num >= m.most",
        best: Some((FELDERA, 412.0)),
    },
    Query {
        name: "q6",
        sql: "select seller, avg(final) over (
                partition by seller order by date_time, id rows between 10 preceding and current row
            ) as mean
            from (
                select a.id, a.seller, b.price as final, b.date_time, row_number() over (
                    partition by a.id order by b.price desc, b.date_time, b.bidder
                ) as place
                from auction a join bid b on a.id = b.auction
                where b.date_time between a.date_time and a.expires
            ) as sold where place <= 1",
        best: None,
    },
    Query {
        name: "q7",
        sql: "select b.auction, b.price, b.bidder, b.date_time from bid b
            join (select max(price) as most, date_time / 10000 as period from bid
                group by date_time / 10000) m
            on b.price = m.most and b.date_time / 10000 = m.period",
        best: Some((FELDERA, 196.0)),
    },
    Query {
        name: "q8",
        sql: "select p.id, p.name, p.period from
            (select distinct id, name, date_time / 10000 as period from person) p
            join (select distinct seller, date_time / 10000 as period from auction) a
            on p.id = a.seller and p.period = a.period",
        best: Some((FELDERA, 415.0)),
    },
    Query {
        name: "q9",
        sql: "select id, item_name, initial_bid, reserve, opened, expires, seller, category, auction,
                bidder, price, date_time from (
                select a.id, a.item_name, a.initial_bid, a.reserve, a.date_time as opened, a.expires,
                    a.seller, a.category, b.auction, b.bidder, b.price, b.date_time,
                    row_number() over (
                        partition by a.id order by b.price desc, b.date_time, b.bidder
                    ) as place
                from auction a join bid b on a.id = b.auction
                where b.date_time between a.date_time and a.expires
            ) as bids where place <= 1",
        best: Some((FELDERA, 57.0)),
    },
    Query {
        name: "q14",
        sql: "select auction, bidder, 0.908 * price as price,
                case when date_time / 3600000 % 24 between 8 and 18 then 'dayTime'
                    when date_time / 3600000 % 24 <= 6 or date_time / 3600000 % 24 >= 20
                    then 'nightTime' else 'otherTime' end as bid_time_type,
                date_time, length(url) - length(replace(url, 'c', '')) as c_counts
            from bid where 0.908 * price > 100000 and 0.908 * price < 900000",
        best: Some((FELDERA, 429.0)),
    },
    Query {
        name: "q15",
        sql: "select date_time / 86400000 as day, count(*) as total_bids,
                count(*) filter (where price < 10000) as rank1_bids,
                count(*) filter (where price >= 10000 and price < 1000000) as rank2_bids,
                count(*) filter (where price >= 1000000) as rank3_bids,
                count(distinct bidder) as total_bidders,
                count(distinct bidder) filter (where price < 10000) as rank1_bidders,
                count(distinct bidder) filter (where price >= 10000 and price < 1000000)
                    as rank2_bidders,
                count(distinct bidder) filter (where price >= 1000000) as rank3_bidders,
                count(distinct auction) as total_auctions,
                count(distinct auction) filter (where price < 10000) as rank1_auctions,
                count(distinct auction) filter (where price >= 10000 and price < 1000000)
                    as rank2_auctions,
                count(distinct auction) filter (where price >= 1000000) as rank3_auctions
            from bid group by date_time / 86400000",
        best: Some((FELDERA, 221.0)),
    },
    Query {
        name: "q16",
        sql: "select channel, date_time / 86400000 as day, max(date_time / 60000) as minute,
                count(*) as total_bids,
                count(*) filter (where price < 10000) as rank1_bids,
                count(*) filter (where price >= 10000 and price < 1000000) as rank2_bids,
                count(*) filter (where price >= 1000000) as rank3_bids,
                count(distinct bidder) as total_bidders,
                count(distinct bidder) filter (where price < 10000) as rank1_bidders,
                count(distinct bidder) filter (where price >= 10000 and price < 1000000)
                    as rank2_bidders,
                count(distinct bidder) filter (where price >= 1000000) as rank3_bidders,
                count(distinct auction) as total_auctions,
                count(distinct auction) filter (where price < 10000) as rank1_auctions,
                count(distinct auction) filter (where price >= 10000 and price < 1000000)
                    as rank2_auctions,
                count(distinct auction) filter (where price >= 1000000) as rank3_auctions
            from bid group by channel, date_time / 86400000",
        best: Some((ALIBABA, 79.0)),
    },
    Query {
        name: "q17",
        sql: "select auction, date_time / 86400000 as day, count(*) as total_bids,
                count(*) filter (where price < 10000) as rank1_bids,
                count(*) filter (where price >= 10000 and price < 1000000) as rank2_bids,
                count(*) filter (where price >= 1000000) as rank3_bids,
                min(price) as min_price, max(price) as max_price, avg(price) as avg_price,
                sum(price) as sum_price
            from bid group by auction, date_time / 86400000",
        best: Some((FELDERA, 242.0)),
    },
    Query {
        name: "q18",
        sql: "select auction, bidder, price, channel, url, date_time from (
                select auction, bidder, price, channel, url, date_time, row_number() over (
                    partition by bidder, auction order by date_time desc, price, url
                ) as place from bid
            ) as bids where place <= 1",
        best: Some((FELDERA, 85.0)),
    },
    Query {
        name: "q19",
        sql: "select auction, bidder, price, channel, url, date_time, place from (
                select auction, bidder, price, channel, url, date_time, row_number() over (
                    partition by auction order by price desc, date_time, bidder, url
                ) as place from bid
            ) as bids where place <= 10",
        best: Some((FELDERA, 75.0)),
    },
    Query {
        name: "q20",
        sql: "select b.auction, b.bidder, b.price, b.channel, b.url, b.date_time, a.item_name,
                a.initial_bid, a.reserve, a.date_time as opened, a.expires, a.seller, a.category
            from bid b join auction a on b.auction = a.id where a.category = 10",
        best: Some((FELDERA, 85.0)),
    },
];

/// q22, the last one: the directories of the address.
const Q22: Query = Query {
    name: "q22",
    sql: "select auction, bidder, price, channel, split_part(url, '/', 4) as dir1,
            split_part(url, '/', 5) as dir2, split_part(url, '/', 6) as dir3 from bid",
    best: Some((FELDERA, 394.0)),
};

/// Measures every query.
pub(crate) fn run(size: Size) -> Outcome {
    let (scale, tables) = (scale(size), nexmark_tables(Facts::Declared));
    let steps = nexmark_steps(&tables, scale.events, STEP);
    let figure = |query: &Query| {
        let name = format!("nexmark-{}", query.name);
        match measure(query, &tables, &steps) {
            Ok(rate) => {
                let figure = Figure::alone(name, rate, "events/s");
                match query.best {
                    Some((whose, thousands)) => figure.beside(whose, thousands * 1e3),
                    None => figure,
                }
            }
            Err(error) => Figure::lacking(name, error.to_string()),
        }
    };
    Ok(QUERIES.iter().chain([&Q22]).map(figure).collect())
}

fn measure(query: &Query, tables: &Tables, steps: &[Step]) -> Maybe<f64> {
    check(query, tables, &steps[..CHECKED_STEPS.min(steps.len())])?;
    let mut flow = Flow::new(query.sql, tables, 1)?;
    let mut rows = Rows::default();
    let time = flow.run(steps, |difference| rows.see(difference))?;
    Ok(rate(steps.len() * STEP, time))
}

/// Compares the sum of all differences with the batch answer.
fn check(query: &Query, tables: &Tables, steps: &[Step]) -> Maybe<()> {
    let mut flow = Flow::new(query.sql, tables, 1)?;
    let mut seen: Vec<ChangeBatch> = Vec::new();
    flow.run(steps, |difference| seen.push(difference.clone()))?;
    let rows = |table: &Arc<TableSchema>| {
        let changes = steps.iter().flatten().filter(|changes| changes.table() == table);
        let batches = changes.map(|changes| changes.changes().rows().clone()).collect();
        (table.name().clone(), batches)
    };
    let tables_rows = tables.all.iter().map(rows).collect();
    let right = batch::answer(query.sql, &tables.all, tables_rows)?;
    let schema = right.schema();
    let renamed = seen.iter().map(|difference| batch::renamed(difference, &schema));
    let seen = renamed.collect::<Result<Vec<_>, _>>()?;
    batch::same(&consolidate(&schema, &seen)?, &right)
}
