//! Scripts: what pipes stand for, and the canonical form.

use expect_test::{Expect, expect};

use super::{shop, shown_in};
use crate::{Catalog, parse, parse_in, plan};

fn check_script(text: &str, expect: &Expect) {
    let script = parse(text).unwrap_or_else(|problems| panic!("{problems}"));
    expect.assert_eq(&script.to_string());
    let again = parse(&script.to_string()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(again, script, "the canonical form reads back");
    assert_eq!(again.to_string(), script.to_string(), "the canonical form is its own");
}

#[test]
fn a_materialized_view_is_a_view() {
    check_script(
        "create materialized view a as select id from orders",
        &expect![[r#"
            create view a as
              select id
              from orders;
        "#]],
    );
}

#[test]
fn a_pipe_is_a_script_of_three_statements() {
    check_script(
        "postgres://app@localhost/shop | from orders JOIN customers on orders.customer_id = customers.id
         | where orders.status <> 'a|b' -- not void
         |> aggregate sum(total) as revenue, count(*) as orders group by customers.region
         | postgres://h/dwh/revenue (mode = 'upsert')",
        &expect![[r#"
            create source shop from 'postgres://app@localhost/shop';

            create view revenue as
              from orders
              join customers on orders.customer_id = customers.id
              |> where orders.status <> 'a|b'
              |> aggregate sum(total) as revenue, count(*) as orders group by customers.region;

            create sink revenue_to_postgres from revenue into 'postgres://h/dwh/revenue' (mode = 'upsert');
        "#]],
    );
    check_script(
        "stdin (format = 'csv') | aggregate count(*) group by country | -",
        &expect![[r#"
            create source stdin from 'stdin' (format = 'csv');

            create view result as
              from stdin
              |> aggregate count(*) group by country;

            create sink result_to_stdout from result into 'stdout';
        "#]],
    );
    check_script(
        "demo | from orders | where (flags | 4) = 4 and a || '|' = $x$|$x$ | search(columns = 'a, b')",
        &expect![[r#"
            create source demo from 'demo';

            create view result as
              from orders
              |> where (flags | 4) = 4 and a || '|' = $x$|$x$;

            create sink result_to_search from result into 'search' (columns = 'a, b');
        "#]],
    );
    check_script(
        "'data/my orders.csv' with (header = true) | aggregate count(*) as n group by Id | out.ndjson",
        &expect![[r#"
            create source my_orders from 'data/my orders.csv' (header = 'true');

            create view out as
              from my_orders
              |> aggregate count(*) as n group by id;

            create sink out_to_file from out into 'out.ndjson';
        "#]],
    );
    check_script(
        "shop | from orders | distinct",
        &expect![[r#"
        create view result as
          from orders
          |> distinct;

        create sink result_to_stdout from result into 'stdout';
    "#]],
    );
}

#[test]
fn a_pipe_without_a_query_mirrors_its_source() {
    check_script(
        "postgres://a@b/shop | postgres://c@d/copy?x=y",
        &expect![[r#"
        create source shop from 'postgres://a@b/shop';

        create sink shop_to_postgres from shop.* into 'postgres://c@d/copy?x=y';
    "#]],
    );
    let script = parse("shop | postgres://c@d/copy?x=y").unwrap();
    let program = plan(&script, &shop()).unwrap_or_else(|problems| panic!("{problems}"));
    expect![[r#"
        create source shop from 'postgres://app@localhost/shop';
        create source events from 'events.csv';
        create view audit_entries as
          from shop.audit.entries;
        create view customers as
          from shop.customers;
        create view items as
          from shop.items;
        create view orders as
          from shop.orders;
        create sink audit_entries_to_postgres from audit_entries into 'postgres://c@d/copy/audit.entries?x=y';
        create sink customers_to_postgres from customers into 'postgres://c@d/copy/customers?x=y';
        create sink items_to_postgres from items into 'postgres://c@d/copy/items?x=y';
        create sink orders_to_postgres from orders into 'postgres://c@d/copy/orders?x=y'"#]].assert_eq(&program.statements().join(";\n"));
}

#[test]
fn scripts_have_a_canonical_form() {
    check_script(
        "CREATE SOURCE Shop FROM 'postgres://x/y' WITH (Slot = \"A\", n = 5);\n/* a view */ Create View V As Select o.id, left(o.status, 3) As s From orders o Left Join customers c Using (id) Where o.id Is Distinct From 4 Group By 1, 2 Order By o.id Limit 5;;\ncreate sink \"S 1\" from v into 'it''s.ndjson';",
        &expect![[r#"
            create source shop from 'postgres://x/y' (n = '5', slot = 'A');

            create view v as
              select o.id, left(o.status, 3) as s
              from orders o
              left join customers c using (id)
              where o.id is distinct from 4
              group by 1, 2
              order by o.id
              limit 5;

            create sink "S 1" from v into 'it''s.ndjson';
        "#]],
    );
}

#[test]
fn names_stay_clear_of_the_catalogue_unless_they_mean_the_same() {
    let catalog = Catalog { views: vec!["create view out as\nfrom orders".to_owned()], ..shop() };
    let same = parse_in("shop | from orders | out.ndjson", &catalog).unwrap();
    let other = parse_in("other/shop.csv | where a > 1 | out.ndjson", &catalog).unwrap();
    expect![[r#"
        create view out as
          from orders;

        create sink out_to_file from out into 'out.ndjson';
        ---
        create source shop_2 from 'other/shop.csv';

        create view out_2 as
          from shop_2
          |> where a > 1;

        create sink out_2_to_file from out_2 into 'out.ndjson';
    "#]]
    .assert_eq(&format!("{same}---\n{other}"));
}

#[test]
fn paths_are_kept_whole_and_mean_the_same_afterwards() {
    let base = Some("/home/ada".into());
    let kept = "create source rows from '/home/ada/rows.ndjson'".to_owned();
    let catalog = Catalog { base, sources: vec![kept], ..Catalog::default() };
    let pipe = "rows.ndjson | where a > 1 | out.ndjson";
    let script =
        "create source rows from './rows.ndjson'; create sink s from rows.* into 'a/b.ndjson';
                  create sink t from u into 'search'";
    let shown = |text| parse_in(text, &catalog).unwrap().to_string();
    expect![[r#"
        create source rows from '/home/ada/rows.ndjson';

        create view out as
          from rows
          |> where a > 1;

        create sink out_to_file from out into '/home/ada/out.ndjson';
        ---
        create source rows from '/home/ada/rows.ndjson';

        create sink s from rows.* into '/home/ada/a/b.ndjson';

        create sink t from u into 'search';
    "#]]
    .assert_eq(&format!("{}---\n{}", shown(pipe), shown(script)));
}

#[test]
fn the_catalogue_is_part_of_the_program() {
    let catalog = Catalog {
        views: vec!["create view orders as\nfrom orders\n|> where total > 5".to_owned()],
        sinks: vec!["create sink s from orders into 'search'".to_owned()],
        ..shop()
    };
    let program =
        plan(&parse("create view n as select count(*) as n from orders").unwrap(), &catalog)
            .unwrap();
    let names: Vec<_> = program.views.iter().map(|view| view.name.as_str()).collect();
    assert_eq!(names, ["orders", "n"]);
    assert_eq!(program.sinks.len(), 1);
    let repeated =
        plan(&parse("create view orders as from orders | where total > 5").unwrap(), &catalog)
            .unwrap();
    assert_eq!(repeated.views.len(), 1);
    let broken = Catalog { views: Vec::new(), ..catalog };
    expect![[r#"
        SQL010: `create sink s from orders into 'search'` in the catalogue: there is no view orders
        1 | create view n as select id from customers
          | ^ not in this script
          = help: a sink copies a view: `create view orders as from orders`
    "#]]
    .assert_eq(&shown_in("create view n as select id from customers", &broken));
}

#[test]
fn the_documentation_lists_the_codes() {
    let path = "../../docs/sql.md";
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(&crate::codes::table()), "docs/sql.md holds:\n{}", crate::codes::table());
    assert!(crate::codes::ALL.is_sorted_by(|a, b| a.code < b.code));
}
