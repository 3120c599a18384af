//! Explained plans, as they are drawn.

use expect_test::{Expect, expect};

use super::*;
use crate::output::objects;

const SCRIPT: &str = "
    create table customers (id int primary key, region text);
    create table orders (id int primary key, customer_id int, total int, status text);
    create view regions as
      select c.region, sum(o.total) as revenue from orders o join customers c on o.customer_id = c.id
      where o.status <> 'void' group by c.region;
    create view big as
      select o.id, c.region from orders o join customers c on o.customer_id = c.id
      where o.status <> 'void' and o.total > 100;
    create view pairs as
      select a.id, b.id as other from orders a join orders b on a.customer_id = b.customer_id;
    create view named as
      select o.id, c.region from orders o join customers c on o.customer_id = c.id";

/// The views of the script.
async fn views() -> Vec<ViewPlan> {
    let nothing = crate::catalogue::Catalogue::default();
    crate::intent::plan_only(SCRIPT, &nothing).await.unwrap().program.views
}

fn check((_, rows): Rows, expect: &Expect) {
    expect.assert_eq(&drawn(&objects(&[rows])));
}

#[tokio::test]
async fn a_plan_shows_where_operators_come_from_and_what_they_share() {
    let views = views().await;
    check(
        explained(&views, 0).unwrap(),
        &expect![[r#"
            view regions(region Utf8, revenue Int64) key (region)
            operator                                                                        place                                                  also in
            └─ aggregate sum(#key1) group by region                                         regions 6:3  group by c.region
               └─ project region, CAST(total AS Int64) as #key1                             regions 6:3  group by c.region
                  └─ project total, region                                                  regions 6:3  group by c.region
                     └─ join on customer_id = id                                            regions 4:3  join customers c on o.customer_id = c.id
                        ├─ new arrangement of the left side by customer_id
                        ├─ new arrangement of the right side by id
                        ├─ project customer_id, total                                       regions 4:3  join customers c on o.customer_id = c.id
                        │  └─ filter status != void                                         regions 5:3  where o.status <> 'void'
                        │     └─ table public.orders (customer_id, total, status) key (id)  regions 3:8  orders o                                  big 3:8, pairs 3:8, named 3:8
                        └─ table public.customers (id, region) key (id)                     regions 4:8  customers c                               big 4:8, named 4:8
        "#]],
    );
    check(
        explained(&views, 1).unwrap(),
        &expect![[r#"
            view big(id Int32, region Utf8) key (id)
            operator                                                                      place                                                also in
            └─ project id, region                                                         big 2:3  select o.id, c.region
               └─ join on customer_id = id                                                big 4:3  join customers c on o.customer_id = c.id
                  ├─ new arrangement of the left side by customer_id
                  ├─ new arrangement of the right side by id
                  ├─ project id, customer_id                                              big 4:3  join customers c on o.customer_id = c.id
                  │  └─ filter status != void AND total > 100                             big 5:3  where o.status <> 'void' and o.total > 100
                  │     └─ table public.orders (id, customer_id, total, status) key (id)  big 3:8  orders o                                    regions 3:8, pairs 3:8, named 3:8
                  └─ table public.customers (id, region) key (id)                         big 4:8  customers c                                 regions 4:8, named 4:8
        "#]],
    );
    check(
        explained(&views[2..], 1).unwrap(),
        &expect![[r#"
            view named(id Int32, region Utf8) key (id)
            operator                                                 place                                                also in
            └─ project id, region                                    named 2:3  select o.id, c.region
               └─ join on customer_id = id                           named 4:3  join customers c on o.customer_id = c.id
                  ├─ arrangement of the left side by customer_id                                                          pairs 4:3
                  ├─ new arrangement of the right side by id
                  ├─ table public.orders (id, customer_id) key (id)  named 3:8  orders o                                  pairs 3:8
                  └─ table public.customers (id, region) key (id)    named 4:8  customers c
        "#]],
    );
}

#[tokio::test]
async fn a_maintained_view_shows_what_its_operators_did_and_keep() {
    let views = views().await;
    let mut stat = Dataflow::with_options(&views, &DataflowOptions::default()).unwrap().stat();
    for table in &mut stat.tables {
        (table.batches, table.rows_in, table.rows_out, table.nanoseconds) =
            (3, 30_000, 29_000, 500);
        table.state = StateSize { rows: 20_000, bytes: 1 << 20 };
    }
    for view in &mut stat.views {
        view.nanoseconds = 1_500_000;
        for (at, operator) in (1_u64..).zip(&mut view.operators) {
            (operator.batches, operator.rows_in, operator.rows_out) = (at, at * 1_000, at * 900);
            operator.nanoseconds = at * 1_234_567;
            operator.nanoseconds_max = operator.nanoseconds;
            if ["arrange", "aggregate"].contains(&operator.operator) {
                operator.state = StateSize { rows: 7, bytes: 70_000 };
            }
        }
    }
    check(
        analyzed(&views, 0, &stat),
        &expect![[r#"
            view regions(region Utf8, revenue Int64) key (region)
            operator                                                                           time        batches  rows in  rows out  kept rows       kept  place                                                  also in
            result                                                                          1.50 ms   3 %
            └─ aggregate sum(#key1) group by region                                         11.1 ms  19 %        9    9,000     8,100          7  68.36 KiB  regions 6:3  group by c.region
               └─ project region, CAST(total AS Int64) as #key1                             9.87 ms  17 %        8    8,000     7,200                        regions 6:3  group by c.region
                  └─ project total, region                                                                                                                   regions 6:3  group by c.region
                     └─ join on customer_id = id                                            13.5 ms  24 %        7    7,000     6,300                        regions 4:3  join customers c on o.customer_id = c.id
                        ├─ arrangement of the left side by customer_id                      6.17 ms  11 %        5    5,000     4,500          7  68.36 KiB
                        ├─ arrangement of the right side by id                              7.40 ms  13 %        6    6,000     5,400          7  68.36 KiB
                        ├─ project customer_id, total                                                                                                        regions 4:3  join customers c on o.customer_id = c.id
                        │  └─ filter status != void                                         2.46 ms   4 %        2    2,000     1,800                        regions 5:3  where o.status <> 'void'
                        │     └─ table public.orders (customer_id, total, status) key (id)  1.23 ms   2 %        3   30,000    29,000     20,000   1.00 MiB  regions 3:8  orders o                                  big 3:8, pairs 3:8, named 3:8
                        └─ table public.customers (id, region) key (id)                     3.70 ms   6 %        3   30,000    29,000     20,000   1.00 MiB  regions 4:8  customers c                               big 4:8, named 4:8
        "#]],
    );
    check(
        analyzed(&views, 2, &stat),
        &expect![[r#"
            view pairs(id Int32, other Int32) key (id, other)
            operator                                                    time        batches  rows in  rows out  kept rows       kept  place                                                      also in
            result                                                   1.50 ms  11 %
            └─ project id, id as other                                                                                                pairs 2:3  select a.id, b.id as other
               └─ join on customer_id = customer_id                  4.93 ms  36 %        4    4,000     3,600                        pairs 4:3  join orders b on a.customer_id = b.customer_id
                  ├─ arrangement of the left side by customer_id     2.46 ms  18 %        2    2,000     1,800          7  68.36 KiB                                                             named 4:3
                  ├─ arrangement of the right side by customer_id    3.70 ms  27 %        3    3,000     2,700          7  68.36 KiB
                  ├─ table public.orders (id, customer_id) key (id)  1.23 ms   9 %        3   30,000    29,000     20,000   1.00 MiB  pairs 3:8  orders a                                        regions 3:8, big 3:8, named 3:8
                  └─ table public.orders (id, customer_id) key (id)    above                                                          pairs 4:8  orders b                                        regions 3:8, big 3:8, named 3:8
        "#]],
    );
    stat.views[1].failed = true;
    for operator in &mut stat.views[1].operators {
        (operator.workers, operator.nanoseconds_max) = (4, operator.nanoseconds * 9 / 10);
    }
    check(
        analyzed(&views, 1, &stat),
        &expect![[r#"
            view big(id Int32, region Utf8) key (id) (stopped)
            operator                                                                         time        one worker  batches  rows in  rows out  kept rows       kept  place                                                also in
            result                                                                        1.50 ms   5 %
            └─ project id, region                                                                                                                                      big 2:3  select o.id, c.region
               └─ join on customer_id = id                                                7.40 ms  27 %     6.66 ms        6    6,000     5,400                        big 4:3  join customers c on o.customer_id = c.id
                  ├─ arrangement of the left side by customer_id                          4.93 ms  18 %     4.44 ms        4    4,000     3,600          7  68.36 KiB
                  ├─ arrangement of the right side by id                                  6.17 ms  23 %     5.55 ms        5    5,000     4,500          7  68.36 KiB
                  ├─ project id, customer_id                                                                                                                           big 4:3  join customers c on o.customer_id = c.id
                  │  └─ filter status != void AND total > 100                             3.70 ms  14 %     3.33 ms        3    3,000     2,700                        big 5:3  where o.status <> 'void' and o.total > 100
                  │     └─ table public.orders (id, customer_id, total, status) key (id)  1.23 ms   5 %                    3   30,000    29,000     20,000   1.00 MiB  big 3:8  orders o                                    regions 3:8, pairs 3:8, named 3:8
                  └─ table public.customers (id, region) key (id)                         2.46 ms   9 %                    3   30,000    29,000     20,000   1.00 MiB  big 4:8  customers c                                 regions 4:8, named 4:8
        "#]],
    );
}
