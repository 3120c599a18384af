//! Problems: their codes, places and advice.

use expect_test::expect;

use super::{check, shown};

#[test]
fn every_unknown_name_of_every_statement_is_reported_at_once() {
    check(
        "create view a as select ordrs.id, nam from orders join custmers on true;\n\
         create view b as\n  from orders\n  | where statsu = 'new'\n  | extend lenght(status) as l;\n\
         create sink s from c into 'stdout'",
        &expect![[r#"
            SQL010: there is no table or view custmers
            1 | create view a as select ordrs.id, nam from orders join custmers on true;
              |                                                        ^^^^^^^^ not known
              = help: did you mean shop.customers?

            SQL011: there is no column statsu
            4 |   | where statsu = 'new'
              |           ^^^^^^ not known
              = help: did you mean status?

            SQL012: there is no function lenght
            5 |   | extend lenght(status) as l;
              |            ^^^^^^ not known
              = help: did you mean length?

            SQL010: there is no view c
            6 | create sink s from c into 'stdout'
              |                    ^ not known
        "#]],
    );
}

#[test]
fn a_place_behind_other_alphabets_and_lines_is_exact() {
    check(
        "create view a as\n  from orders -- \u{1F600} Gr\u{00FC}\u{00DF}e\n  | where status = '\u{00FC}\u{00DF}' and\n      totl > 1",
        &expect![[r#"
            SQL011: there is no column totl
            4 |       totl > 1
              |       ^^^^ not known
              = help: did you mean total?
        "#]],
    );
}

#[test]
fn what_cannot_be_maintained_is_refused_with_advice() {
    check(
        "create view a as select now(), random() from orders",
        &expect![[r#"
        SQL030: now() changes although no data does
        1 | create view a as select now(), random() from orders
          |                         ^^^ not supported
          = help: keep the moment in a column of the source, or filter when you read

        SQL030: random() changes although no data does
        1 | create view a as select now(), random() from orders
          |                                ^^^^^^ not supported
          = help: keep the moment in a column of the source, or filter when you read
    "#]],
    );
    check(
        "create view a as select row_number() as n, rank(id) from orders",
        &expect![[r#"
            SQL031: row_number needs to know which rows it looks at
            1 | create view a as select row_number() as n, rank(id) from orders
              |                         ^^^^^^^^^^ not supported
              = help: write `row_number(…) over (partition by … order by …)`

            SQL031: rank needs to know which rows it looks at
            1 | create view a as select row_number() as n, rank(id) from orders
              |                                            ^^^^ not supported
              = help: write `rank(…) over (partition by … order by …)`
        "#]],
    );
    check(
        "create view a as select id from orders where row_number() over (order by id) < 3",
        &expect![[r#"
            SQL031: a window function cannot stand in `where`
            1 | create view a as select id from orders where row_number() over (order by id) < 3
              |                                              ^^^^^^^^^^ not supported
              = help: filter behind it: `qualify …`, or `| where …` behind a stage `extend`
        "#]],
    );
    check(
        "create view a as select o.id from orders o semi join customers c on o.id = c.id",
        &expect![[r#"
            SQL032: a join has no word `semi`
            1 | create view a as select o.id from orders o semi join customers c on o.id = c.id
              |                                                      ^^^^^^^^^^^ not supported
              = help: write `where exists (select 1 from … where …)`
        "#]],
    );
    check(
        "create view a as select id from orders full join customers using (id)",
        &expect![[r#"
            SQL032: a full join cannot have USING
            1 | create view a as select id from orders full join customers using (id)
              |                                                  ^^^^^^^^^ not supported
              = help: write `on a.id = b.id`, and `coalesce(a.id, b.id)` for the column of both
        "#]],
    );
    check(
        "create view a as select id from orders o full join lateral (select c.name from customers c where c.id = o.id) t on true",
        &expect![[r#"
            SQL032: only an inner or a left join can have LATERAL on its right
            1 | create view a as select id from orders o full join lateral (select c.name from customers c where c.id = o.id) t on true
              |                                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not supported
              = help: write `cross join lateral (…)` or `left join lateral (…) on true`
        "#]],
    );
    check(
        "create view a as select id from orders where customer_id in (select idd from customers where random() > 0.5 and o.x = 1)",
        &expect![[r#"
            SQL011: there is no column idd
            1 | create view a as select id from orders where customer_id in (select idd from customers where random() > 0.5 and o.x = 1)
              |                                                                     ^^^ not known
              = help: did you mean id?

            SQL030: random() changes although no data does
            1 | create view a as select id from orders where customer_id in (select idd from customers where random() > 0.5 and o.x = 1)
              |                                                                                              ^^^^^^ not supported
              = help: keep the moment in a column of the source, or filter when you read

            SQL011: there is no table o in this query
            1 | create view a as select id from orders where customer_id in (select idd from customers where random() > 0.5 and o.x = 1)
              |                                                                                                                 ^^^ not read here
              = help: the query reads: customers
        "#]],
    );
    check(
        "create view a as select o.id from orders o left join customers c on c.id = (select max(id) from orders)",
        &expect![[r#"
            SQL033: a subquery in the condition of an outer join cannot be maintained
            1 | create view a as select o.id from orders o left join customers c on c.id = (select max(id) from orders)
              |                                                 ^^^^ here
        "#]],
    );
    check(
        "create view a as select median(total) as m, string_agg(status, status) as s from orders",
        &expect![[r#"
            SQL034: the aggregate median cannot be maintained yet
            1 | create view a as select median(total) as m, string_agg(status, status) as s from orders
              |                         ^^^^^^ not supported
              = help: there are count, sum, avg, min, max, bool_and, bool_or, stddev, variance, string_agg, array_agg, json_agg and json_object_agg
        "#]],
    );
    check(
        "create view a as select id from orders where unnest([1, 2]) = id",
        &expect![[r#"
            SQL035: unnest gives several rows, so it cannot stand in `where`
            1 | create view a as select id from orders where unnest([1, 2]) = id
              |                                              ^^^^^^ not supported
              = help: put it behind `from` or into a select list
        "#]],
    );
    check(
        "create view a as select id from orders except select id, name from customers",
        &expect![[r#"
            SQL020: EXCEPT has 1 columns on the left and 2 on the right
            1 | create view a as select id from orders except select id, name from customers
              |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ must be as many
              = help: select the same columns on both sides
        "#]],
    );
    check(
        "create view a as select x from generate_searies(1, 2) as t(x), unnest(orders.tags) as u",
        &expect![[r#"
            SQL035: a query cannot read from this
            1 | create view a as select x from generate_searies(1, 2) as t(x), unnest(orders.tags) as u
              |                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not supported
              = help: there are `unnest(list)` and `generate_series(first, last, step)`
        "#]],
    );
    check(
        "create view a as select id, count(distinct status) over (order by id) as n from orders",
        &expect![[r#"
            SQL031: count(distinct …) over a window cannot be maintained yet
            1 | create view a as select id, count(distinct status) over (order by id) as n from orders
              |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ here
              = help: join with an aggregate `group by` the partition
        "#]],
    );
    check(
        "create view a as select id, string_agg(status, ',' order by id) over () as s from orders",
        &expect![[r#"
            SQL031: a window function takes its values in the window's order
            1 | create view a as select id, string_agg(status, ',' order by id) over () as s from orders
              |                             ^^^^^^^^^^ not supported
              = help: write the order into it: `over (… order by …)`
        "#]],
    );
    check(
        "create view a as with recursive t as (select id from orders) select id from t",
        &expect![[r#"
            SQL035: WITH RECURSIVE cannot be maintained yet
            1 | create view a as with recursive t as (select id from orders) select id from t
              |                  ^^^^ not supported
              = help: recursion comes later; write the levels out with `union all`

            SQL010: there is no table or view t
            1 | create view a as with recursive t as (select id from orders) select id from t
              |                                                                             ^ not known
              = help: there are: events.events, shop.audit.entries, shop.customers, shop.items, shop.orders
        "#]],
    );
    check(
        "create view a as select id from orders order by total",
        &expect![[r#"
        SQL036: the order is not by columns of the result
        1 | create view a as select id from orders order by total
          |                                                 ^^^^^ here
          = help: add the value that you order by to the result
    "#]],
    );
    check(
        "create view a as select id from orders limit 1 + 1",
        &expect![[r#"
        SQL037: a limit is a whole number
        1 | create view a as select id from orders limit 1 + 1
          |                                              ^^^^^ not supported
          = help: write a number such as `limit 10`
    "#]],
    );
}

#[test]
fn statements_are_told_what_they_should_be() {
    check(
        "create veiw a as select id from orders",
        &expect![[r#"
        SQL003: `create veiw` does not exist
        1 | create veiw a as select id from orders
          |        ^^^^ not known
          = help: did you mean view?
    "#]],
    );
    check(
        "insert into orders values (1)",
        &expect![[r#"
        SQL003: a script has no statement `insert`
        1 | insert into orders values (1)
          | ^^^^^^ not a statement
          = help: a script that runs does not write: use `evert sql`, or write to the source itself
    "#]],
    );
    check(
        "create source shop2 form 'postgres://x/y'",
        &expect![[r#"
        SQL002: expected `from`, found `form`
        1 | create source shop2 form 'postgres://x/y'
          |                     ^^^^ expected `from`
          = help: the form is: create source NAME from 'URL' (option = 'value')
    "#]],
    );
    check(
        "create source s from 'x.csv' (header = true, header = 'no')",
        &expect![[r#"
        SQL006: the option header is there twice
        1 | create source s from 'x.csv' (header = true, header = 'no')
          |                                              ^^^^^^ the second one
    "#]],
    );
    check(
        "create view a as select id from orders where status = 'open",
        &expect![[r#"
        SQL001: unterminated string literal
        1 | create view a as select id from orders where status = 'open
          |                                                       ^^^^^ from here on
          = help: close the quote or comment; write '' for a quote inside of a string
    "#]],
    );
    check(
        "create view a as select id from orders whre total > 1",
        &expect![[r#"
            SQL002: expected the end of the query, found `total`
            1 | create view a as select id from orders whre total > 1
              |                                             ^^^^^ expected the end of the query
              = help: did you mean where instead of whre?
        "#]],
    );
    check(
        "create view a as select from orders",
        &expect![[r#"
        SQL002: the select names no column
        1 | create view a as select from orders
          |                  ^^^^^^ select what?
          = help: name columns, or write `select *`
    "#]],
    );
}

#[test]
fn stages_are_told_what_they_should_be() {
    check(
        "from orders | wehre total > 1 | stdout",
        &expect![[r#"
        SQL004: a pipe has no stage `wehre` here
        1 | from orders | wehre total > 1 | stdout
          |               ^^^^^ not a stage
          = help: did you mean where?
    "#]],
    );
    check(
        "from orders | group by status | stdout",
        &expect![[r#"
        SQL004: a pipe has no stage `group` here
        1 | from orders | group by status | stdout
          |               ^^^^^ not a stage
          = help: write `aggregate count(*) group by …`
    "#]],
    );
    check(
        "from orders | where total > 1 | select count(*) as n | stdout",
        &expect![[r#"
        SQL021: the aggregate count cannot stand in `select`
        1 | from orders | where total > 1 | select count(*) as n | stdout
          |                                        ^^^^^ not supported
          = help: write the stage `aggregate … group by …`
    "#]],
    );
    check(
        "from orders | aggregate total group by status",
        &expect![[r#"
        SQL021: this column is neither grouped by nor inside an aggregate
        1 | from orders | aggregate total group by status
          |                         ^^^^^ many values in a group
          = help: add it to `group by`, or aggregate it: `min(…)`
    "#]],
    );
    check(
        "from orders || where total > 1",
        &expect![[r#"
            SQL002: expected the end of the query, found `||`
            1 | from orders || where total > 1
              |             ^^ expected the end of the query
              = help: did you mean order instead of orders?
        "#]],
    );
}

#[test]
fn ends_are_told_what_they_should_be() {
    check(
        "stdni | where x > 1 | stdout",
        &expect![[r#"
            SQL013: there is no source stdni
            1 | stdni | where x > 1 | stdout
              | ^^^^^ not known
              = help: did you mean stdin?
        "#]],
    );
    check(
        "demo | from orders | stdot",
        &expect![[r#"
        SQL005: `stdot` is neither a stage nor a sink
        1 | demo | from orders | stdot
          |                      ^^^^^ not a sink
          = help: did you mean stdout?
    "#]],
    );
    check(
        "search | from orders | stdout",
        &expect![[r#"
        SQL005: `search` is neither a stage nor a source
        1 | search | from orders | stdout
          | ^^^^^^ not a source
          = help: a source is a URL such as postgres://…, a path, `stdin` or `demo`
    "#]],
    );
    check(
        "shop | stdout",
        &expect![[r#"
        SQL013: stdout holds one table, but shop has 4
        1 | shop | stdout
          |        ^^^^^^ too small
          = help: choose one with `from TABLE`: "audit.entries", customers, items, orders
    "#]],
    );
    check(
        "shop | where total > 1 | stdout",
        &expect![[r#"
            SQL013: the source shop has 4 tables
            1 | shop | where total > 1 | stdout
              | ^^^^ which one?
              = help: begin with `from TABLE`; there are audit.entries, customers, items, orders
        "#]],
    );
    check("", &expect![[r#""#]]);
}

#[test]
fn types_that_do_not_fit_are_shown_in_place() {
    check(
        "create view a as select id from orders where status > 1 + interval '1 day'",
        &expect![[r#"
            SQL020: cannot automatically convert Int64 to Interval(MonthDayNano)
            1 | create view a as select id from orders where status > 1 + interval '1 day'
              |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ the types do not fit
              = help: cast one side: `value::type`
        "#]],
    );
    check(
        "create view a as select upper(id, id) as u from orders",
        &expect![[r#"
            SQL020: function 'upper' takes no value of this type
            1 | create view a as select upper(id, id) as u from orders
              |                         ^^^^^ the types do not fit
              = help: cast one side: `value::type`
        "#]],
    );
    check(
        "create view a as select sum(status) as s from orders",
        &expect![[r#"
            SQL020: function 'sum' takes no value of this type
            1 | create view a as select sum(status) as s from orders
              |                         ^^^ the types do not fit
              = help: cast one side: `value::type`
        "#]],
    );
    check(
        "create view a as select id from orders where total + 1",
        &expect![[r#"
            SQL020: cannot create filter with non-boolean predicate 'shop.orders.total + Int64(1)' returning Decimal128(23, 2)
            1 | create view a as select id from orders where total + 1
              |                                                    ^ the types do not fit
              = help: cast one side: `value::type`
        "#]],
    );
    check(
        "create view a as select region, name, count(*) as n from customers group by region",
        &expect![[r#"
            SQL021: this column is neither grouped by nor inside an aggregate
            1 | create view a as select region, name, count(*) as n from customers group by region
              |                                 ^^^^ many values in a group
              = help: add it to `group by`, or aggregate it: `min(…)`
        "#]],
    );
}

#[test]
fn two_columns_of_one_name_are_refused_in_a_view() {
    check(
        "create view a as select * from orders o join customers c on o.customer_id = c.id",
        &expect![[r#"
            SQL015: two columns are named id
            1 | create view a as select * from orders o join customers c on o.customer_id = c.id
              |                         ^ the second one
              = help: name one of them: `… as other_name`
        "#]],
    );
    check(
        "create view a as select id from orders, customers",
        &expect![[r#"
        SQL011: 2 columns are named id
        1 | create view a as select id from orders, customers
          |                         ^^ which one?
          = help: write orders.id or customers.id
    "#]],
    );
}

#[test]
fn a_name_that_is_taken_by_another_statement_is_refused() {
    check(
        "create source shop from 'other.csv'",
        &expect![[r#"
        SQL014: a source named shop exists already, and is another one
        1 | create source shop from 'other.csv'
          |               ^^^^ taken
          = help: choose another name, or drop it first: `evert drop shop`
    "#]],
    );
    check(
        "create source evert from 'other.csv'",
        &expect![[r#"
            SQL014: evert is Evert's own
            1 | create source evert from 'other.csv'
              |               ^^^^^ taken
              = help: choose another name
        "#]],
    );
    check(
        "create view a as select id from orders; create view a as select id from customers",
        &expect![[r#"
            SQL014: there are two views named a
            1 | create view a as select id from orders; create view a as select id from customers
              |                                                     ^ taken
              = help: give one another name
        "#]],
    );
}

#[test]
fn a_view_with_problems_gives_no_further_problems_to_its_readers() {
    let shown = shown(
        "create view a as select nope from orders; create view b as select x from a; create sink s from b into 'stdout'",
    );
    assert_eq!(shown.matches("SQL").count(), 1, "{shown}");
}
