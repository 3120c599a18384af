//! Places: where in a view's text its operators come from.

use expect_test::{Expect, expect};

use super::shop;
use crate::{outline, parse_in, plan};

/// The last view's operators, each with its place.
fn placed(text: &str) -> String {
    let script = parse_in(text, &shop()).unwrap();
    let program = plan(&script, &shop()).unwrap();
    let view = program.views.last().unwrap();
    assert_eq!(view.places.len(), view.root.count());
    let place = |place: Option<crate::ir::Place>| match place {
        Some(place) => format!("{place}-{} {}", place.end, place.text),
        None => "-".to_owned(),
    };
    let lines = outline(view).into_iter();
    lines
        .map(|line| format!("{}{} ◂ {}\n", line.branch, line.operator, place(line.place)))
        .collect()
}

fn check(text: &str, expect: &Expect) {
    expect.assert_eq(&placed(text));
}

#[test]
fn operators_have_the_places_of_their_clauses() {
    check(
        "create view revenue as
         select c.region, sum(o.total) as revenue, count(*) as orders
         from orders o join customers c on o.customer_id = c.id
         where o.status <> 'void' and o.total > 5 group by c.region having sum(o.total) > 10",
        &expect![[r#"
            └─ project region, sum(o.total) as revenue, count(Int64(1)) as orders ◂ revenue 2:3-2:63 select c.region, sum(o.total) as revenue, count(…
               └─ filter sum(o.total) > 10.00 ◂ revenue 7:3-7:27 having sum(o.total) > 10
                  └─ aggregate sum(total), count(*) group by region ◂ revenue 6:3-6:20 group by c.region
                     └─ project total, region ◂ revenue 4:3-4:43 join customers c on o.customer_id = c.id
                        └─ join on #left0 = id ◂ revenue 4:3-4:43 join customers c on o.customer_id = c.id
                           ├─ project customer_id, total, CAST(customer_id AS Int64) as #left0 ◂ revenue 4:3-4:43 join customers c on o.customer_id = c.id
                           │  └─ project customer_id, total ◂ revenue 4:3-4:43 join customers c on o.customer_id = c.id
                           │     └─ filter status != void AND total > 5.00 ◂ revenue 5:3-5:43 where o.status <> 'void' and o.total > 5
                           │        └─ table shop.orders (customer_id, status, total) key (id) ◂ revenue 3:8-3:16 orders o
                           └─ table shop.customers (id, region) key (id) ◂ revenue 4:8-4:19 customers c
        "#]],
    );
    check(
        "create view few as select region, count(*) over (partition by region order by id) as n
           from customers where name like 'A%' order by id desc limit 3",
        &expect![[r#"
            └─ project region, n ◂ few 5:3-6:10 order by id desc limit 3
               └─ top 3 by id desc ◂ few 5:3-6:10 order by id desc limit 3
                  └─ project region, count(Int64(1)) as n, id ◂ few 2:3-2:70 select region, count(*) over (partition by regio…
                     └─ window count(*) range between unbounded preceding and current row of each region by id ◂ few 2:18-2:65 count(*) over (partition by region order by id)
                        └─ project id, region ◂ few 2:18-2:65 count(*) over (partition by region order by id)
                           └─ filter name LIKE A% ◂ few 4:3-4:23 where name like 'A%'
                              └─ table shop.customers (id, name, region) key (id) ◂ few 3:8-3:17 customers
        "#]],
    );
    check(
        "create view n as select count(*) as n from orders",
        &expect![[r#"
        └─ aggregate count(*) ◂ n 2:3-2:23 select count(*) as n
           └─ table shop.orders (id) key (id) ◂ n 3:8-3:14 orders
    "#]],
    );
    check(
        "create view d as select distinct lower(region) as r from customers",
        &expect![[r#"
        └─ distinct ◂ d 2:3-2:37 select distinct lower(region) as r
           └─ project lower(region) as r ◂ d 2:3-2:37 select distinct lower(region) as r
              └─ table shop.customers (region) key (id) ◂ d 3:8-3:17 customers
    "#]],
    );
}

#[test]
fn stages_have_places_wherever_a_pipe_is_broken() {
    check(
        "create view revenue as from orders o | join customers c on o.customer_id = c.id
           | where status <> 'void'
           | aggregate sum(total) as revenue, count(*) as orders group by region
           | extend revenue / orders as mean | where mean > 3 | aggregate count(*) as regions
           | distinct",
        &expect![[r#"
            └─ distinct ◂ revenue 9:6-9:14 distinct
               └─ aggregate count(*) ◂ revenue 8:6-8:35 aggregate count(*) as regions
                  └─ project ◂ revenue 8:6-8:35 aggregate count(*) as regions
                     └─ filter divide(revenue, orders) > 3.0000000000000000 ◂ revenue 7:6-7:20 where mean > 3
                        └─ project revenue, orders ◂ revenue 7:6-7:20 where mean > 3
                           └─ aggregate sum(total), count(*) group by region ◂ revenue 5:6-5:73 aggregate sum(total) as revenue, count(*) as ord…
                              └─ project total, region ◂ revenue 3:6-3:46 join customers c on o.customer_id = c.id
                                 └─ join on #left0 = id ◂ revenue 3:6-3:46 join customers c on o.customer_id = c.id
                                    ├─ project customer_id, total, CAST(customer_id AS Int64) as #left0 ◂ revenue 3:6-3:46 join customers c on o.customer_id = c.id
                                    │  └─ project customer_id, total ◂ revenue 3:6-3:46 join customers c on o.customer_id = c.id
                                    │     └─ filter status != void ◂ revenue 4:6-4:28 where status <> 'void'
                                    │        └─ table shop.orders (customer_id, status, total) key (id) ◂ revenue 2:8-2:16 orders o
                                    └─ table shop.customers (id, region) key (id) ◂ revenue 3:11-3:22 customers c
        "#]],
    );
    check(
        "from orders | order by total desc | limit 3 | stdout",
        &expect![[r#"
        └─ top 3 by total desc ◂ result 3:6-4:13 order by total desc |> limit 3
           └─ table shop.orders (id, customer_id, status, total, placed_at) key (id) ◂ result 2:8-2:14 orders
    "#]],
    );
}

#[test]
fn subqueries_are_where_their_joins_come_from() {
    check(
        "create view v as select id, (select max(i.weight) from items i where i.order_id = o.id) as w
         from orders o
         where exists (select 1 from customers c where c.id = o.customer_id and c.region = 'north')
           and o.id not in (select order_id from items where quantity > 3)",
        &expect![[r#"
            └─ project id, max as w ◂ v 2:3-2:78 select id, (select max(i.weight) from items i wh…
               └─ left join on id = #key10 ◂ v 2:14-2:73 (select max(i.weight) from items i where i.order…
                  ├─ anti join on id = order_id ◂ v 4:98-4:157 o.id not in (select order_id from items where qu…
                  │  ├─ project id ◂ v 4:98-4:157 o.id not in (select order_id from items where qu…
                  │  │  └─ join on #rows6 = 0 OR id IS NOT NULL AND #rows6 = #elements7 ◂ v 4:98-4:157 o.id not in (select order_id from items where qu…
                  │  │     ├─ project id ◂ v 4:9-4:93 exists (select 1 from customers c where c.id = o…
                  │  │     │  └─ semi join on #left0 = #key2 ◂ v 4:9-4:93 exists (select 1 from customers c where c.id = o…
                  │  │     │     ├─ project id, customer_id, CAST(customer_id AS Int64) as #left0 ◂ v 4:9-4:93 exists (select 1 from customers c where c.id = o…
                  │  │     │     │  └─ table shop.orders (id, customer_id) key (id) ◂ v 3:8-3:16 orders o
                  │  │     │     └─ project id as #key2 ◂ v 4:9-4:93 exists (select 1 from customers c where c.id = o…
                  │  │     │        └─ filter region = north ◂ v 4:74-4:92 c.region = 'north'
                  │  │     │           └─ table shop.customers (id, region) key (id) ◂ v 4:31-4:42 customers c
                  │  │     └─ filter #rows6 = 0 OR #rows6 = #elements7 ◂ v 4:98-4:157 o.id not in (select order_id from items where qu…
                  │  │        └─ aggregate count(*), count(order_id) ◂ v 4:98-4:157 o.id not in (select order_id from items where qu…
                  │  │           └─ project order_id ◂ v 4:111-4:126 select order_id
                  │  │              └─ filter quantity > 3 ◂ v 4:138-4:156 where quantity > 3
                  │  │                 └─ table shop.items (order_id, quantity) key (order_id, line) ◂ v 4:132-4:137 items
                  │  └─ project order_id ◂ v 4:111-4:126 select order_id
                  │     └─ filter quantity > 3 ◂ v 4:138-4:156 where quantity > 3
                  │        └─ table shop.items (order_id, quantity) key (order_id, line) ◂ v 4:132-4:137 items
                  └─ project max(i.weight) as max, #key8 as #key10 ◂ v 2:14-2:73 (select max(i.weight) from items i where i.order…
                     └─ aggregate max(weight) group by order_id ◂ v 2:15-2:35 select max(i.weight)
                        └─ table shop.items (order_id, weight) key (order_id, line) ◂ v 2:41-2:48 items i
        "#]],
    );
    check(
        "create view v as select o.id, l.n from orders o cross join lateral
           (select count(*) as n from items i where i.order_id < o.id) l",
        &expect![[r#"
            └─ project id, n ◂ v 2:3-2:19 select o.id, l.n
               └─ join on id is not distinct from #id0 ◂ v 4:3-4:83 cross join lateral (select count(*) as n from it…
                  ├─ table shop.orders (id) key (id) ◂ v 3:8-3:16 orders o
                  └─ project #id0, CASE WHEN count(Int64(1)) IS NOT NULL THEN count(Int64(1)) ELSE 0 END as n ◂ v 2:3-2:19 select o.id, l.n
                     └─ left join on #id0 is not distinct from #id0 ◂ v 4:3-4:83 cross join lateral (select count(*) as n from it…
                        ├─ distinct ◂ v 4:3-4:83 cross join lateral (select count(*) as n from it…
                        │  └─ project id as #id0 ◂ v 4:3-4:83 cross join lateral (select count(*) as n from it…
                        │     └─ table shop.orders (id) key (id) ◂ v 3:8-3:16 orders o
                        └─ aggregate count(*) group by #id0 ◂ v 4:3-4:83 cross join lateral (select count(*) as n from it…
                           └─ project #id0 ◂ v 4:3-4:83 cross join lateral (select count(*) as n from it…
                              └─ join on order_id < #id0 ◂ v 4:3-4:83 cross join lateral (select count(*) as n from it…
                                 ├─ distinct ◂ v 4:3-4:83 cross join lateral (select count(*) as n from it…
                                 │  └─ project id as #id0 ◂ v 4:3-4:83 cross join lateral (select count(*) as n from it…
                                 │     └─ table shop.orders (id) key (id) ◂ v 3:8-3:16 orders o
                                 └─ table shop.items (order_id) key (order_id, line) ◂ v 4:49-4:56 items i
        "#]],
    );
}

#[test]
fn parts_views_and_unions_are_told_apart() {
    check(
        "create view paid as select id, customer_id, total from orders where status = 'paid';
         create view both as
         with big as (select customer_id, total from paid where total > 100)
         select 'big' as kind, customer_id, sum(total) as t from big group by customer_id
         union all
         select 'all', customer_id, count(*) from paid p where p.total < 7 group by customer_id",
        &expect![[r#"
            └─ union all ◂ both 6:3-6:12 union all
               ├─ project big as kind, customer_id, sum(big.total) as t ◂ both 3:3-3:53 select 'big' as kind, customer_id, sum(total) as…
               │  └─ aggregate sum(total) group by customer_id ◂ both 5:3-5:23 group by customer_id
               │     └─ project customer_id, total ◂ paid 2:3-2:32 select id, customer_id, total
               │        └─ filter status = paid AND total > 100.00 ◂ paid 4:3-4:24 where status = 'paid'
               │           └─ table shop.orders (customer_id, status, total) key (id) ◂ paid 3:8-3:14 orders
               └─ project all as kind, customer_id, CAST(count(Int64(1)) AS Decimal128(22, 2)) as t ◂ both 7:3-7:38 select 'all', customer_id, count(*)
                  └─ aggregate count(*) group by customer_id ◂ both 10:3-10:23 group by customer_id
                     └─ project customer_id ◂ paid 2:3-2:32 select id, customer_id, total
                        └─ filter status = paid AND total < 7.00 ◂ paid 4:3-4:24 where status = 'paid'
                           └─ table shop.orders (customer_id, status, total) key (id) ◂ paid 3:8-3:14 orders
        "#]],
    );
    check(
        "create view v as select a.id, b.id as other from orders a, orders b
         where a.customer_id = b.customer_id and a.total < b.total
         except select id, id + 1 from orders where status = 'void'",
        &expect![[r#"
            └─ except ◂ v 4:61-4:67 except
               ├─ project id, id as other ◂ v 2:3-2:29 select a.id, b.id as other
               │  └─ join on customer_id = customer_id and total < total ◂ v 4:3-4:60 where a.customer_id = b.customer_id and a.total…
               │     ├─ table shop.orders (id, customer_id, total) key (id) ◂ v 3:8-3:16 orders a
               │     └─ table shop.orders (id, customer_id, total) key (id) ◂ v 3:18-3:26 orders b
               └─ project id, id + 1 as other ◂ v 5:3-5:20 select id, id + 1
                  └─ filter status = void ◂ v 7:3-7:24 where status = 'void'
                     └─ table shop.orders (id, status) key (id) ◂ v 6:8-6:14 orders
        "#]],
    );
}

#[test]
fn rows_that_are_made_have_places() {
    check(
        "create view v as select t.x, n from (values (1, 2), (3, 4)) as t(x, y)
         cross join generate_series(1, 3) as s(n) where n > x",
        &expect![[r#"
            └─ join on x < n ◂ v 5:3-5:14 where n > x
               ├─ constant 2 rows ◂ v 3:8-3:31 (values (1, 2), (3, 4))
               └─ unnest unnest(generate_series(Int64(1),Int64(3))) ◂ v 4:14-4:43 generate_series(1, 3) as s(n)
                  └─ constant 1 rows ◂ v 4:14-4:43 generate_series(1, 3) as s(n)
        "#]],
    );
}
