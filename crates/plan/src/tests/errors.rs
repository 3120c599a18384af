//! Problems: their codes, places and advice.

use expect_test::expect;

use super::{check, shown};

#[test]
fn every_unknown_name_of_every_statement_is_reported_at_once() {
    check(
        "create view a as select ordrs.id, nam from orders join custmers on true;\n\
         create view b as\n  from orders\n  | where statsu = 'new'\n  | extend lenght(status) as l;\n\
         create sink s from c into 'stdout'",
        &expect![[r#""#]],
    );
}

#[test]
fn a_place_behind_other_alphabets_and_lines_is_exact() {
    check(
        "create view a as\n  from orders -- \u{1F600} Gr\u{00FC}\u{00DF}e\n  | where status = '\u{00FC}\u{00DF}' and\n      totl > 1",
        &expect![[r#""#]],
    );
}

#[test]
fn what_cannot_be_maintained_is_refused_with_advice() {
    check("create view a as select now(), random() from orders", &expect![[r#""#]]);
    check(
        "create view a as select row_number() over (order by id) as n from orders",
        &expect![[r#""#]],
    );
    check(
        "create view a as select o.id from orders o right join customers c on o.id = c.id",
        &expect![[r#""#]],
    );
    check(
        "create view a as select id from orders where customer_id in (select id from customers)",
        &expect![[r#""#]],
    );
    check(
        "create view a as select string_agg(name, ',') as names from customers",
        &expect![[r#""#]],
    );
    check(
        "create view a as with recursive t as (select id from orders) select id from t",
        &expect![[r#""#]],
    );
    check(
        "create view a as select region, count(*) from customers group by rollup (region)",
        &expect![[r#""#]],
    );
    check("create view a as select 1 as one", &expect![[r#""#]]);
    check("create view a as select id from orders order by total", &expect![[r#""#]]);
    check("create view a as select id from orders limit 1 + 1", &expect![[r#""#]]);
    check(
        "create view a as select id from orders intersect select id from customers",
        &expect![[r#""#]],
    );
}

#[test]
fn statements_are_told_what_they_should_be() {
    check("create veiw a as select id from orders", &expect![[r#""#]]);
    check("insert into orders values (1)", &expect![[r#""#]]);
    check("create source shop2 form 'postgres://x/y'", &expect![[r#""#]]);
    check("create source s from 'x.csv' (header = true, header = 'no')", &expect![[r#""#]]);
    check("create view a as select id from orders where status = 'open", &expect![[r#""#]]);
    check("create view a as select id from orders whre total > 1", &expect![[r#""#]]);
    check("create view a as select from orders", &expect![[r#""#]]);
}

#[test]
fn stages_are_told_what_they_should_be() {
    check("from orders | wehre total > 1 | stdout", &expect![[r#""#]]);
    check("from orders | group by status | stdout", &expect![[r#""#]]);
    check("from orders | where total > 1 | select count(*) as n | stdout", &expect![[r#""#]]);
    check("from orders | aggregate total group by status", &expect![[r#""#]]);
    check("from orders || where total > 1", &expect![[r#""#]]);
}

#[test]
fn ends_are_told_what_they_should_be() {
    check("stdni | where x > 1 | stdout", &expect![[r#""#]]);
    check("demo | from orders | stdot", &expect![[r#""#]]);
    check("search | from orders | stdout", &expect![[r#""#]]);
    check("shop | stdout", &expect![[r#""#]]);
    check("shop | where total > 1 | stdout", &expect![[r#""#]]);
    check("", &expect![[r#""#]]);
}

#[test]
fn types_that_do_not_fit_are_shown_in_place() {
    check(
        "create view a as select id from orders where status > 1 + interval '1 day'",
        &expect![[r#""#]],
    );
    check("create view a as select upper(id, id) as u from orders", &expect![[r#""#]]);
    check("create view a as select sum(status) as s from orders", &expect![[r#""#]]);
    check("create view a as select id from orders where total + 1", &expect![[r#""#]]);
    check(
        "create view a as select region, name, count(*) as n from customers group by region",
        &expect![[r#""#]],
    );
}

#[test]
fn two_columns_of_one_name_are_refused_in_a_view() {
    check(
        "create view a as select * from orders o join customers c on o.customer_id = c.id",
        &expect![[r#""#]],
    );
    check("create view a as select id from orders, customers", &expect![[r#""#]]);
}

#[test]
fn a_name_that_is_taken_by_another_statement_is_refused() {
    check("create source shop from 'other.csv'", &expect![[r#""#]]);
    check(
        "create view a as select id from orders; create view a as select id from customers",
        &expect![[r#""#]],
    );
}

#[test]
fn a_view_with_problems_gives_no_further_problems_to_its_readers() {
    let shown = shown(
        "create view a as select nope from orders; create view b as select x from a; create sink s from b into 'stdout'",
    );
    assert_eq!(shown.matches("SQL").count(), 1, "{shown}");
}
