//! Plans: what queries become.

use expect_test::expect;

use super::{check, only_plan, shop};
use crate::{parse, plan};

#[test]
fn a_join_with_an_aggregate_reads_only_what_it_needs() {
    check(
        "create view revenue as
         select c.region, sum(o.total) as revenue, count(*) as orders
         from orders o join customers c on o.customer_id = c.id
         where o.status <> 'void' group by c.region having sum(o.total) > 10",
        &expect![[r#"
            view revenue(region Utf8, revenue Decimal128(22, 2), orders Int64) key (region)
            └─ project region, sum(o.total) as revenue, count(Int64(1)) as orders
               └─ filter sum(o.total) > 10.00
                  └─ aggregate sum(total), count(*) group by region
                     └─ project total, region
                        └─ join on #left0 = id
                           ├─ project customer_id, total, CAST(customer_id AS Int64) as #left0
                           │  └─ project customer_id, total
                           │     └─ filter status != void
                           │        └─ table shop.orders (customer_id, status, total) key (id)
                           └─ table shop.customers (id, region) key (id)
        "#]],
    );
}

#[test]
fn pipes_and_sql_give_the_same_plan() {
    let pairs = [
        (
            "from orders | where status = 'paid' | aggregate sum(total) as t, count(*) as n group by customer_id",
            "select customer_id, sum(total) as t, count(*) as n from orders where status = 'paid' group by customer_id",
        ),
        (
            "from orders |> select id, total |> order by total desc |> limit 3",
            "select id, total from orders order by total desc limit 3",
        ),
        ("from orders | drop status, placed_at, customer_id", "select id, total from orders"),
        ("from orders | distinct", "select distinct * from orders"),
        (
            "from customers | rename name as title | select title",
            "select name as title from customers",
        ),
        (
            "from customers | set name = upper(name) | select id, name",
            "select id, upper(name) as name from customers",
        ),
        (
            "from orders o | left join customers c on o.customer_id = c.id | select o.id, c.name",
            "select o.id, c.name from orders o left join customers c on o.customer_id = c.id",
        ),
        (
            "from orders | select id | union all (from customers | select id)",
            "select id from orders union all select id from customers",
        ),
        (
            "from orders | as o | where o.total > 5 | select o.id",
            "select id from orders where total > 5",
        ),
    ];
    for (pipe, sql) in pairs {
        let (pipe, sql) = (format!("create view v as {pipe}"), format!("create view v as {sql}"));
        assert!(!only_plan(&sql).contains("SQL"), "{}", super::shown(&sql));
        assert_eq!(super::shown(&pipe), super::shown(&sql), "{pipe}");
    }
}

#[test]
fn each_operator_has_its_node() {
    let v = |query: &str| format!("create view v as {query}");
    check(
        &v("select count(*) as n from orders"),
        &expect![[r#"
            view v(n Int64) key (n)
            └─ aggregate count(*)
               └─ table shop.orders (id) key (id)
        "#]],
    );
    check(
        &v("select distinct region from customers"),
        &expect![[r#"
        view v(region Utf8) key (region)
        └─ distinct
           └─ table shop.customers (region) key (id)
    "#]],
    );
    check(
        &v("select id from orders order by id limit 5 offset 2"),
        &expect![[r#"
        view v(id Int64) key (id) order by id
        └─ top 5 behind 2 by id
           └─ table shop.orders (id) key (id)
    "#]],
    );
    check(
        &v("select id, status from orders order by lower(status), id desc limit 5"),
        &expect![[r#"
            view v(id Int64, status Utf8) key (id)
            └─ project id, status
               └─ top 5 by #order0, id desc
                  └─ project id, status, lower(status) as #order0
                     └─ table shop.orders (id, status) key (id)
        "#]],
    );
    check(
        &v("select name from customers order by id limit 5"),
        &expect![[r#"
        view v(name Utf8)
        └─ project name
           └─ top 5 by id
              └─ project name, id
                 └─ table shop.customers (id, name) key (id)
    "#]],
    );
    check(
        &v("select id, name from customers order by name desc nulls last, id"),
        &expect![[r#"
            view v(id Int64, name Utf8) key (id) order by name desc nulls last, id
            └─ table shop.customers (id, name) key (id)
        "#]],
    );
    check(
        &v("select id from orders union select id from customers"),
        &expect![[r#"
        view v(id Int64) key (id)
        └─ distinct
           └─ union all
              ├─ table shop.orders (id) key (id)
              └─ table shop.customers (id) key (id)
    "#]],
    );
    check(
        &v(
            "select o.id, c.name from orders o, customers c where o.customer_id = c.id and o.total > 1",
        ),
        &expect![[r#"
            view v(id Int64, name Utf8) key (id)
            └─ project id, name
               └─ join on #left0 = id
                  ├─ project id, customer_id, CAST(customer_id AS Int64) as #left0
                  │  └─ project id, customer_id
                  │     └─ filter total > 1.00
                  │        └─ table shop.orders (id, customer_id, total) key (id)
                  └─ table shop.customers (id, name) key (id)
        "#]],
    );
    check(
        &v(
            "select o.id, c.name from orders o left join customers c on o.customer_id = c.id and c.region = 'EU'",
        ),
        &expect![[r#"
            view v(id Int64, name Utf8) key (id)
            └─ project id, name
               └─ left join on #left0 = id
                  ├─ project id, customer_id, CAST(customer_id AS Int64) as #left0
                  │  └─ table shop.orders (id, customer_id) key (id)
                  └─ project id, name
                     └─ filter region = EU
                        └─ table shop.customers (id, name, region) key (id)
        "#]],
    );
    check(
        &v(
            "select avg(quantity) as a, sum(distinct quantity) as s, count(distinct line) as d, max(weight) filter (where line > 1) as m from items group by order_id",
        ),
        &expect![[r#"
            view v(a Float64, s Int64, d Int64, m Float64)
            └─ project avg(shop.items.quantity) as a, sum(DISTINCT shop.items.quantity) as s, count(DISTINCT shop.items.line) as d, max(shop.items.weight) FILTER (WHERE shop.items.line > Int64(1)) as m
               └─ aggregate avg(#key1), sum(distinct #key2), count(distinct line), max(weight) filter (#key5) group by order_id
                  └─ project order_id, CAST(quantity AS Float64) as #key1, CAST(quantity AS Int64) as #key2, line, weight, line > 1 as #key5
                     └─ table shop.items (order_id, line, quantity, weight) key (order_id, line)
        "#]],
    );
    check(
        &v(
            "select date_trunc('day', placed_at) as day, sum(total) as t from orders group by date_trunc('day', placed_at)",
        ),
        &expect![[r#"
            view v(day Timestamp(µs, "UTC"), t Decimal128(22, 2)) key (day)
            └─ aggregate sum(total) group by #key0
               └─ project date_trunc(day, placed_at) as #key0, total
                  └─ table shop.orders (total, placed_at) key (id)
        "#]],
    );
    check(
        &v(
            "with big as (select * from orders where total > 100) select b.id, c.name from big b join customers c on c.id = b.customer_id",
        ),
        &expect![[r#"
            view v(id Int64, name Utf8) key (id)
            └─ project id, name
               └─ join on #left0 = id
                  ├─ project id, customer_id, CAST(customer_id AS Int64) as #left0
                  │  └─ project id, customer_id
                  │     └─ filter total > 100.00
                  │        └─ table shop.orders (id, customer_id, total) key (id)
                  └─ table shop.customers (id, name) key (id)
        "#]],
    );
    check(
        &v(
            "select a.id as a, b.id as b from orders a join customers b on lower(a.status) = lower(b.name) and a.total > b.id",
        ),
        &expect![[r#"
            view v(a Int64, b Int64) key (a, b)
            └─ project id as a, id as b
               └─ join on #left0 = #right0 and CAST(total AS Decimal128(22, 2)) > CAST(id AS Decimal128(22, 2))
                  ├─ project id, status, total, lower(status) as #left0
                  │  └─ table shop.orders (id, status, total) key (id)
                  └─ project id, name, lower(name) as #right0
                     └─ table shop.customers (id, name) key (id)
        "#]],
    );
    check(
        &v("select count(*) as n from orders cross join customers"),
        &expect![[r#"
            view v(n Int64) key (n)
            └─ aggregate count(*)
               └─ cross join
                  ├─ project
                  │  └─ table shop.orders (id) key (id)
                  └─ project
                     └─ table shop.customers (id) key (id)
        "#]],
    );
}

#[test]
fn keys_follow_from_primary_keys() {
    let key = |query: &str| {
        let text = format!("create view v as {query}");
        let program =
            plan(&parse(&text).unwrap(), &shop()).unwrap_or_else(|problems| panic!("{problems}"));
        let view = &program.views[0];
        view.key
            .iter()
            .map(|&at| view.schema.field(at).name().clone())
            .collect::<Vec<_>>()
            .join(",")
    };
    assert_eq!(key("select id, total from orders where total > 1"), "id");
    assert_eq!(key("select total from orders"), "");
    assert_eq!(
        key("select o.id, c.name from orders o join customers c on o.customer_id = c.id"),
        "id"
    );
    assert_eq!(
        key("select o.id, c.name from orders o left join customers c on o.customer_id = c.id"),
        "id"
    );
    assert_eq!(
        key("select i.*, o.total from items i join orders o on i.order_id = o.id"),
        "order_id,line"
    );
    assert_eq!(
        key("select o.id as a, c.id as b from orders o join customers c on o.status = c.name"),
        "a,b"
    );
    assert_eq!(key("select region, count(*) as n from customers group by region"), "region");
    assert_eq!(key("select count(*) as n from customers"), "n");
    assert_eq!(key("select distinct region, name from customers"), "region,name");
    assert_eq!(key("select id from orders union all select id from customers"), "");
    assert_eq!(key("select id from orders order by total limit 3"), "id");
    assert_eq!(
        key(
            "select o.id, o.status, count(*) as n from orders o join items i on i.order_id = o.id group by o.id, o.status"
        ),
        "id,status"
    );
    assert_eq!(key("from events"), "");
}

#[test]
fn views_read_earlier_views() {
    check(
        "create view paid as select id, customer_id, total from orders where status = 'paid';
         create view top as from paid | order by total desc | limit 2 | select id, total;",
        &expect![[r#"
            view paid(id Int64, customer_id Int32, total Decimal128(12, 2)) key (id)
            └─ project id, customer_id, total
               └─ filter status = paid
                  └─ table shop.orders (id, customer_id, status, total) key (id)
            view "top"(id Int64, total Decimal128(12, 2)) key (id) order by total desc
            └─ top 2 by total desc
               └─ project id, total
                  └─ filter status = paid
                     └─ table shop.orders (id, status, total) key (id)
        "#]],
    );
}

#[test]
fn a_pipes_aggregate_may_compute_with_aggregates() {
    check(
        "create view v as from orders | aggregate round(sum(total) / count(*), 2) as mean, max(total) group by status",
        &expect![[r#"
            view v(status Utf8, mean Decimal128(36, 16), max Decimal128(12, 2)) key (status)
            └─ project status, round(divide(#aggregate0, #aggregate1), 2) as mean, max
               └─ aggregate sum(total), count(*), max(total) group by status
                  └─ table shop.orders (status, total) key (id)
        "#]],
    );
}

#[test]
fn tables_are_found_by_short_and_full_names() {
    let plans: Vec<_> = ["entries", "audit.entries", "shop.audit.entries"]
        .map(|name| only_plan(&format!("create view v as select id, what from {name}")))
        .to_vec();
    assert_eq!(plans[0], plans[1]);
    assert_eq!(plans[0], plans[2]);
    check(
        "create view v as select shop.orders.id, orders.total from shop.orders",
        &expect![[r#"
            view v(id Int64, total Decimal128(12, 2)) key (id)
            └─ table shop.orders (id, total) key (id)
        "#]],
    );
    check(
        "create view v as select source, reason from evert.dead_letters",
        &expect![[r#"
            view v(source Utf8, reason Utf8)
            └─ table evert.dead_letters (source, reason)
        "#]],
    );
}

#[test]
fn what_is_known_of_a_type_reaches_the_view() {
    let text = "create view v as select region, max(token) as last, min(id) as id from customers group by region;
                create view w as select token as t, id from customers;";
    let program = plan(&parse(text).unwrap(), &shop()).unwrap();
    let known = |view: usize, column: usize| {
        change::logical_type(program.views[view].schema.field(column)).map(str::to_owned)
    };
    assert_eq!(known(0, 1).as_deref(), Some("uuid"));
    assert_eq!(known(0, 0), None);
    assert_eq!(known(1, 0).as_deref(), Some("uuid"));
    for view in &program.views {
        assert!(view.schema.fields().iter().all(|field| field.is_nullable()));
        assert_eq!(view.root.schema(), view.schema);
    }
}

#[test]
fn postgres_words_are_understood() {
    check(
        "create view v as select id::text as id, name ilike 'a%' as a, coalesce(region, $$none$$) as r, e'x\\ty' as e, name || '!' as loud, ceiling(1.5) as up from customers",
        &expect![[r#"
            view v(id Utf8, a Boolean, r Utf8, e Utf8, loud Utf8, up Decimal128(2, 1))
            └─ project CAST(id AS Utf8) as id, name ILIKE a% as a, CASE WHEN region IS NOT NULL THEN region ELSE none END as r, x	y as e, name || ! as loud, 2.0 as up
               └─ table shop.customers (id, name, region) key (id)
        "#]],
    );
}

#[test]
fn everyday_queries_are_planned() {
    let numeric = |name: &str| {
        change::with_logical_type(
            super::field(name, arrow::datatypes::DataType::Decimal256(76, 18)),
            "numeric",
        )
    };
    let mut catalog = shop();
    let columns = vec![
        numeric("price"),
        numeric("rate"),
        super::field("userId", arrow::datatypes::DataType::Int64),
    ];
    catalog.tables.push(super::table("shop", "prices", columns, vec![2]));
    let queries = [
        "select price * rate as p, price / rate as q, round(price, 2) as r, price + 1 as s from prices where price > 1.5 and rate < 3",
        "select sum(price) as s, avg(price) as a, min(price) as m, sum(price * rate) as t from prices",
        "select \"userId\" from prices where price between 1 and 2.5",
        "select id from orders where placed_at >= '2024-01-01' and placed_at < timestamp '2025-01-01 00:00:00'",
        "select id, placed_at::date as day, extract(year from placed_at) as year from orders",
        "select id from orders where placed_at + interval '1 day' > '2024-01-01'::timestamptz",
        "select date_part('hour', placed_at) as hour, count(*) from orders group by 1 order by 1",
        "select id, case when total > 100 then 'big' when total > 10 then 'small' else 'tiny' end as size from orders",
        "select coalesce(name, 'unknown') || ' (' || region || ')' as label, id from customers",
        "select name, count(*) from customers group by name having count(*) > 1 order by count desc limit 10",
        "select c.name, sum(i.quantity * i.weight) as w from items i join orders o on i.order_id = o.id join customers c on c.id = o.customer_id group by c.id, c.name order by w desc limit 10",
        "select region from customers where name ilike '%a%' and region in ('EU', 'US') and name is not null",
        "select t.region, t.n from (select region, count(*) as n from customers group by region) as t where t.n > 1",
        "from orders o | join customers c on o.customer_id = c.id | where c.region = 'EU' | aggregate count(*) as n group by c.name | order by n desc | limit 3",
        "from orders | join customers using (id)",
        "from items | aggregate sum(quantity) as q group by order_id as o | where q > 5 | extend q * 2 as double | drop q",
        "from customers | extend length(name) as letters | where letters > 3 | as c | select c.name, c.letters | distinct",
        "select distinct on_time.region as r from customers as on_time",
        "select split_part(name, ' ', 1) as first, upper(left(name, 1)) as initial, regexp_replace(name, '[0-9]', '') as n, abs(id) as i from customers",
        "select count(*) filter (where status = 'paid') as paid, count(distinct customer_id) as buyers from orders",
        "select count(*) as n from (select id from orders union all select id from customers) as both_ids",
        "select greatest(id, 3) as g, nullif(region, '') as r, md5 from (select id, region, name as md5 from customers) x",
    ];
    let mut problems = String::new();
    for query in queries {
        let shown = super::shown_in(&format!("create view v as {query}"), &catalog);
        if shown.starts_with("SQL") {
            problems.push_str(&shown);
        }
    }
    assert_eq!(problems, "");
}

/// Shows the plans of many queries.
fn check_plans(queries: &[&str], expect: &expect_test::Expect) {
    let shown = queries
        .iter()
        .map(|query| format!("{query}\n{}\n", only_plan(&format!("create view v as {query}"))));
    expect.assert_eq(&shown.collect::<String>());
}

#[test]
fn subqueries_become_joins() {
    check_plans(
        &[
            "select id from customers c where exists (select 1 from orders o where o.customer_id = c.id)",
            "select id from customers c where not exists (select 1 from orders o where o.customer_id = c.id and o.total > 5)",
            "select id from customers where id in (select id from audit.entries)",
            "select id from customers where name not in (select what from audit.entries)",
            "select id, (select count(*) from orders o where o.customer_id = c.id) as n from customers c",
            "select id from orders where total > (select avg(total) from orders)",
            "select id, (select status from orders o where o.id = c.id) as s from customers c",
            "select id, (select status from orders o where o.customer_id = c.id) as s from customers c",
            "select c.id, t.total from customers c cross join lateral (select total from orders o where o.customer_id = c.id order by placed_at limit 2) t",
            "select c.id, exists (select 1 from orders o where o.total > c.id) as e from customers c",
        ],
        &expect![[r#"
            select id from customers c where exists (select 1 from orders o where o.customer_id = c.id)
            └─ semi join on id = #key2
               ├─ table shop.customers (id) key (id)
               └─ project CAST(customer_id AS Int64) as #key2
                  └─ table shop.orders (customer_id) key (id)

            select id from customers c where not exists (select 1 from orders o where o.customer_id = c.id and o.total > 5)
            └─ anti join on id = #key2
               ├─ table shop.customers (id) key (id)
               └─ project CAST(customer_id AS Int64) as #key2
                  └─ project customer_id
                     └─ filter total > 5.00
                        └─ table shop.orders (customer_id, total) key (id)

            select id from customers where id in (select id from audit.entries)
            └─ semi join on id = id
               ├─ table shop.customers (id) key (id)
               └─ table shop.audit.entries (id) key (id)

            select id from customers where name not in (select what from audit.entries)
            └─ project id
               └─ anti join on name = what
                  ├─ project id, name
                  │  └─ join on #rows3 = 0 OR name IS NOT NULL AND #rows3 = #elements4
                  │     ├─ table shop.customers (id, name) key (id)
                  │     └─ filter #rows3 = 0 OR #rows3 = #elements4
                  │        └─ aggregate count(*), count(what)
                  │           └─ table shop.audit.entries (what) key (id)
                  └─ table shop.audit.entries (what) key (id)

            select id, (select count(*) from orders o where o.customer_id = c.id) as n from customers c
            └─ project id, CASE WHEN #key3 IS NULL THEN 0 ELSE count END as n
               └─ left join on id = #key3
                  ├─ table shop.customers (id) key (id)
                  └─ project count(Int64(1)) as count, #key1 as #key3
                     └─ aggregate count(*) group by #key0
                        └─ project CAST(customer_id AS Int64) as #key0
                           └─ table shop.orders (customer_id) key (id)

            select id from orders where total > (select avg(total) from orders)
            └─ project id
               └─ join on CAST(total AS Decimal128(16, 6)) > avg
                  ├─ table shop.orders (id, total) key (id)
                  └─ aggregate avg(total)
                     └─ table shop.orders (total) key (id)

            select id, (select status from orders o where o.id = c.id) as s from customers c
            └─ project id, status as s
               └─ left join on id = #key2
                  ├─ table shop.customers (id) key (id)
                  └─ project status, id as #key2
                     └─ table shop.orders (id, status) key (id)

            select id, (select status from orders o where o.customer_id = c.id) as s from customers c
            └─ project id, status as s
               └─ left join on id is not distinct from #id0
                  ├─ table shop.customers (id) key (id)
                  └─ single row for each #id0
                     └─ project #id0, status
                        └─ join on #id0 = #right0
                           ├─ distinct
                           │  └─ project id as #id0
                           │     └─ table shop.customers (id) key (id)
                           └─ project customer_id, status, CAST(customer_id AS Int64) as #right0
                              └─ table shop.orders (customer_id, status) key (id)

            select c.id, t.total from customers c cross join lateral (select total from orders o where o.customer_id = c.id order by placed_at limit 2) t
            └─ project id, total
               └─ join on id = #key3
                  ├─ table shop.customers (id) key (id)
                  └─ project total, #key1 as #key3
                     └─ top 2 by placed_at of each #key1
                        └─ project total, placed_at, CAST(customer_id AS Int64) as #key1
                           └─ table shop.orders (customer_id, total, placed_at) key (id)

            select c.id, exists (select 1 from orders o where o.total > c.id) as e from customers c
            └─ project id, #told0 IS NOT NULL as e
               └─ left join on id is not distinct from #id0
                  ├─ table shop.customers (id) key (id)
                  └─ distinct
                     └─ project #id0, true as #told0
                        └─ join on CAST(total AS Decimal128(22, 2)) > CAST(#id0 AS Decimal128(22, 2))
                           ├─ distinct
                           │  └─ project id as #id0
                           │     └─ table shop.customers (id) key (id)
                           └─ table shop.orders (total) key (id)

        "#]],
    );
}

#[test]
fn joins_of_every_kind_keep_what_is_known() {
    check(
        "create view a as select c.id, o.status from orders o right join customers c on o.id = c.id;
         create view b as select o.id, c.name from orders o full join customers c on o.id = c.id;
         create view c as select o.id, c.id as cid from orders o join customers c on o.id > c.id;
         create view d as select o.id from orders o join audit.entries e on o.status is not distinct from e.what;
         create view e as select id, name from orders o right join customers c using (id)",
        &expect![[r#"
            view a(id Int64, status Utf8) key (id)
            └─ project id, status
               └─ right join on id = id
                  ├─ table shop.orders (id, status) key (id)
                  └─ table shop.customers (id) key (id)
            view b(id Int64, name Utf8)
            └─ project id, name
               └─ full join on id = id
                  ├─ table shop.orders (id) key (id)
                  └─ table shop.customers (id, name) key (id)
            view c(id Int64, cid Int64) key (id, cid)
            └─ join on id > id
               ├─ table shop.orders (id) key (id)
               └─ table shop.customers (id) key (id)
            view d(id Int64)
            └─ project id
               └─ join on status is not distinct from what
                  ├─ table shop.orders (id, status) key (id)
                  └─ table shop.audit.entries (what) key (id)
            view e(id Int64, name Utf8) key (id)
            └─ project id, name
               └─ right join on id = id
                  ├─ table shop.orders (id) key (id)
                  └─ table shop.customers (id, name) key (id)
        "#]],
    );
}

#[test]
fn sets_values_and_first_rows_have_their_nodes() {
    check_plans(
        &[
            "select id from orders intersect select id from customers",
            "select customer_id from orders except all select id from customers",
            "select status from orders union select name from customers",
            "select t.n, count(*) as c from (values (1, 'a'), (2, null)) as t(n, s) group by t.n",
            "select 1 as one",
            "select distinct on (customer_id) customer_id, id from orders order by customer_id, total desc",
            "select region, count(*) as n, grouping(region) as g from customers group by rollup (region)",
            "select id, g from orders, generate_series(1, orders.customer_id) as g",
            "select id, unnest([status, 'x']) as s from orders",
            "select g from generate_series(1, 3) as g",
        ],
        &expect![[r#"
            select id from orders intersect select id from customers
            └─ intersect
               ├─ table shop.orders (id) key (id)
               └─ project id
                  └─ table shop.customers (id) key (id)

            select customer_id from orders except all select id from customers
            └─ except all
               ├─ project CAST(customer_id AS Int64) as customer_id
               │  └─ table shop.orders (customer_id) key (id)
               └─ project id as customer_id
                  └─ table shop.customers (id) key (id)

            select status from orders union select name from customers
            └─ distinct
               └─ union all
                  ├─ table shop.orders (status) key (id)
                  └─ project name as status
                     └─ table shop.customers (name) key (id)

            select t.n, count(*) as c from (values (1, 'a'), (2, null)) as t(n, s) group by t.n
            └─ aggregate count(*) group by n
               └─ constant 2 rows

            select 1 as one
            └─ constant 1 rows

            select distinct on (customer_id) customer_id, id from orders order by customer_id, total desc
            └─ project customer_id, id
               └─ top 1 by total desc of each customer_id
                  └─ table shop.orders (id, customer_id, total) key (id)

            select region, count(*) as n, grouping(region) as g from customers group by rollup (region)
            └─ project #set0 as region, #set2 as n, CAST(#set1 & 1 AS Int32) as g
               └─ union all
                  ├─ project region as #set0, 0 as #set1, count(Int64(1)) as #set2
                  │  └─ aggregate count(*) group by region
                  │     └─ table shop.customers (region) key (id)
                  └─ project NULL as #set0, 1 as #set1, count(Int64(1)) as #set2
                     └─ aggregate count(*)
                        └─ table shop.customers (id) key (id)

            select id, g from orders, generate_series(1, orders.customer_id) as g
            └─ unnest unnest(generate_series(Int64(1),outer_ref(shop.orders.customer_id)))
               └─ project id as #id0, generate_series(1, CAST(customer_id AS Int64)) as unnest(generate_series(Int64(1),outer_ref(shop.orders.customer_id)))
                  └─ table shop.orders (id, customer_id) key (id)

            select id, unnest([status, 'x']) as s from orders
            └─ unnest unnest(make_array(shop.orders.status,Utf8("x")))
               └─ project id, make_array(status, x) as unnest(make_array(shop.orders.status,Utf8("x")))
                  └─ table shop.orders (id, status) key (id)

            select g from generate_series(1, 3) as g
            └─ unnest unnest(generate_series(Int64(1),Int64(3)))
               └─ constant 1 rows

        "#]],
    );
}

#[test]
fn windows_and_the_first_of_each_partition() {
    check_plans(
        &[
            "select id, row_number() over (partition by customer_id order by total desc) as n from orders",
            "select id from (select id, row_number() over (partition by customer_id order by total desc) as n from orders) t where n <= 3",
            "select id from (select id, rank() over (partition by customer_id order by total desc) as n from orders) t where n <= 3",
            "select id, sum(total) over w as s, lag(total, 2, 0.5) over w as l from orders window w as (partition by status order by id rows between 2 preceding and 1 following)",
            "select id, avg(total) filter (where status = 'paid') over (order by placed_at range between interval '1 day' preceding and current row) as a, count(*) over () as c from orders",
            "select id, last_value(status) over (order by id groups between 1 preceding and unbounded following) as l, ntile(4) over (order by id) as q from orders",
        ],
        &expect![[r#"
            select id, row_number() over (partition by customer_id order by total desc) as n from orders
            └─ project id, CAST(row_number() AS Int64) as n
               └─ window row_number() of each customer_id by total desc
                  └─ table shop.orders (id, customer_id, total) key (id)

            select id from (select id, row_number() over (partition by customer_id order by total desc) as n from orders) t where n <= 3
            └─ project id
               └─ filter row_number() <= 3
                  └─ project id, row_number()
                     └─ window row_number() of each customer_id by total desc
                        └─ top 3 by total desc of each customer_id
                           └─ table shop.orders (id, customer_id, total) key (id)

            select id from (select id, rank() over (partition by customer_id order by total desc) as n from orders) t where n <= 3
            └─ project id
               └─ filter rank() <= 3
                  └─ project id, rank()
                     └─ window rank() of each customer_id by total desc
                        └─ table shop.orders (id, customer_id, total) key (id)

            select id, sum(total) over w as s, lag(total, 2, 0.5) over w as l from orders window w as (partition by status order by id rows between 2 preceding and 1 following)
            └─ project id, sum(shop.orders.total) as s, lag(shop.orders.total,Int64(2),Decimal128(0.5,1,1)) as l
               └─ window sum(total) rows between 2 preceding and 1 following, lag(total, 2, 0.50) of each status by id
                  └─ table shop.orders (id, status, total) key (id)

            select id, avg(total) filter (where status = 'paid') over (order by placed_at range between interval '1 day' preceding and current row) as a, count(*) over () as c from orders
            └─ window count(*) rows between unbounded preceding and unbounded following
               └─ project id, avg(shop.orders.total) FILTER (WHERE shop.orders.status = Utf8("paid"))
                  └─ window avg(total) filter (#window0) range between IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 } preceding and current row by placed_at
                     └─ project id, status, total, placed_at, status = paid as #window0
                        └─ table shop.orders (id, status, total, placed_at) key (id)

            select id, last_value(status) over (order by id groups between 1 preceding and unbounded following) as l, ntile(4) over (order by id) as q from orders
            └─ project id, last_value(shop.orders.status) as l, CAST(ntile(Int64(4)) AS Int64) as q
               └─ window last_value(status) groups between 1 preceding and unbounded following, ntile(4) by id
                  └─ table shop.orders (id, status) key (id)

        "#]],
    );
}

#[test]
fn aggregates_of_texts_lists_and_deviations() {
    check_plans(
        &[
            "select string_agg(name, ', ' order by id desc) as names, array_agg(distinct region) as regions from customers",
            "select bool_or(total > 5) as some, every(total > 5) as all_of, stddev(total) as s, var_pop(quantity) as v from orders, items",
            "select sum(distinct total) filter (where status = 'paid') as s, avg(distinct quantity) as a from orders, items",
        ],
        &expect![[r#"
            select string_agg(name, ', ' order by id desc) as names, array_agg(distinct region) as regions from customers
            └─ aggregate string_agg(name, ', ' order by id desc), array_agg(distinct region)
               └─ table shop.customers (id, name, region) key (id)

            select bool_or(total > 5) as some, every(total > 5) as all_of, stddev(total) as s, var_pop(quantity) as v from orders, items
            └─ aggregate bool_or(#key0), bool_and(#key0), stddev_samp(#key1), var_pop(#key2)
               └─ project total > 5.00 as #key0, CAST(total AS Float64) as #key1, CAST(quantity AS Float64) as #key2
                  └─ cross join
                     ├─ table shop.orders (total) key (id)
                     └─ table shop.items (quantity) key (order_id, line)

            select sum(distinct total) filter (where status = 'paid') as s, avg(distinct quantity) as a from orders, items
            └─ aggregate sum(distinct total) filter (#key1), avg(distinct #key2)
               └─ project total, status = paid as #key1, CAST(quantity AS Float64) as #key2
                  └─ cross join
                     ├─ table shop.orders (status, total) key (id)
                     └─ table shop.items (quantity) key (order_id, line)

        "#]],
    );
}

#[test]
fn views_over_views_and_pipes_have_subqueries_too() {
    check(
        "create view a as select id, name from customers c where exists (select 1 from orders o where o.customer_id = c.id);
         create view b as select id from a where name not in (select name from a where id > 5);
         create view c as from customers |> where exists (select 1 from orders o where o.customer_id = customers.id) |> select id;
         create view d as with t as (select id from customers) select id from orders where id in (select id from t);
         create view e as select c.id from customers c where (select max(total) from orders o where o.customer_id = c.id) > (select avg(total) from orders o2 where o2.status = c.name)",
        &expect![[r#"
            view a(id Int64, name Utf8) key (id)
            └─ semi join on id = #key2
               ├─ table shop.customers (id, name) key (id)
               └─ project CAST(customer_id AS Int64) as #key2
                  └─ table shop.orders (customer_id) key (id)
            view b(id Int64) key (id)
            └─ project id
               └─ anti join on name = name
                  ├─ project id, name
                  │  └─ join on #rows3 = 0 OR name IS NOT NULL AND #rows3 = #elements4
                  │     ├─ semi join on id = #key2
                  │     │  ├─ table shop.customers (id, name) key (id)
                  │     │  └─ project CAST(customer_id AS Int64) as #key2
                  │     │     └─ table shop.orders (customer_id) key (id)
                  │     └─ filter #rows3 = 0 OR #rows3 = #elements4
                  │        └─ aggregate count(*), count(name)
                  │           └─ project name
                  │              └─ semi join on id = #key2
                  │                 ├─ filter id > 5
                  │                 │  └─ table shop.customers (id, name) key (id)
                  │                 └─ project CAST(customer_id AS Int64) as #key2
                  │                    └─ filter customer_id > 5
                  │                       └─ table shop.orders (customer_id) key (id)
                  └─ project name
                     └─ semi join on id = #key2
                        ├─ filter id > 5
                        │  └─ table shop.customers (id, name) key (id)
                        └─ project CAST(customer_id AS Int64) as #key2
                           └─ filter customer_id > 5
                              └─ table shop.orders (customer_id) key (id)
            view c(id Int64) key (id)
            └─ semi join on id = #key2
               ├─ table shop.customers (id) key (id)
               └─ project CAST(customer_id AS Int64) as #key2
                  └─ table shop.orders (customer_id) key (id)
            view d(id Int64) key (id)
            └─ semi join on id = id
               ├─ table shop.orders (id) key (id)
               └─ table shop.customers (id) key (id)
            view e(id Int64) key (id)
            └─ project id
               └─ join on name = #key7 and avg < max
                  ├─ project id, name, max
                  │  └─ left join on id = #key3
                  │     ├─ table shop.customers (id, name) key (id)
                  │     └─ project CAST(max(o.total) AS Decimal128(16, 6)) as max, #key1 as #key3
                  │        └─ aggregate max(total) group by #key0
                  │           └─ project CAST(customer_id AS Int64) as #key0, total
                  │              └─ table shop.orders (customer_id, total) key (id)
                  └─ project avg(o2.total) as avg, #key5 as #key7
                     └─ aggregate avg(total) group by status
                        └─ table shop.orders (status, total) key (id)
        "#]],
    );
}
