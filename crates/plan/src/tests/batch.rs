//! The oracle: the same SQL as a batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use change::TableName;
use expect_test::{Expect, expect};

use super::shop;
use crate::{parse, run_batch};

fn events() -> RecordBatch {
    let countries = StringArray::from(vec![Some("de"), Some("fr"), None, Some("de"), Some("it")]);
    let clicks = Int64Array::from(vec![Some(3), Some(3), Some(5), Some(1), None]);
    let columns: Vec<ArrayRef> = vec![Arc::new(countries), Arc::new(clicks)];
    let catalog = shop();
    let table = catalog.tables.iter().find(|table| &*table.name().source == "events").unwrap();
    RecordBatch::try_new(Arc::clone(table.columns()), columns).unwrap()
}

async fn check_rows(query: &str, expect: &Expect) {
    let script = parse(&format!("create view v as {query}")).unwrap();
    let tables = vec![(TableName::new("events", "events"), vec![events()])];
    let views = run_batch(&script, &shop(), tables).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(views[0].0, "v");
    expect.assert_eq(&pretty_format_batches(&views[0].1).unwrap().to_string());
}

#[tokio::test]
async fn ties_of_a_limit_are_broken_by_all_columns_with_nulls_first() {
    check_rows(
        "from events | order by clicks desc nulls last | limit 2",
        &expect![[r#"
        +---------+--------+
        | country | clicks |
        +---------+--------+
        |         | 5      |
        | de      | 3      |
        +---------+--------+"#]],
    )
    .await;
    check_rows(
        "select country from events order by clicks limit 3",
        &expect![[r#"
        +---------+
        | country |
        +---------+
        | de      |
        | de      |
        | fr      |
        +---------+"#]],
    )
    .await;
    check_rows(
        "select country, clicks from events limit 2",
        &expect![[r#"
        +---------+--------+
        | country | clicks |
        +---------+--------+
        |         | 5      |
        | de      | 1      |
        +---------+--------+"#]],
    )
    .await;
}

#[tokio::test]
async fn aggregates_and_joins_run_as_a_batch() {
    check_rows(
        "select country, count(*) as n, sum(clicks) as s, avg(clicks) as a from events
         group by country order by country",
        &expect![[r#"
            +---------+---+---+-----+
            | country | n | s | a   |
            +---------+---+---+-----+
            | de      | 2 | 4 | 2.0 |
            | fr      | 1 | 3 | 3.0 |
            | it      | 1 |   |     |
            |         | 1 | 5 | 5.0 |
            +---------+---+---+-----+"#]],
    )
    .await;
    check_rows(
        "select a.country, b.clicks from events a left join events b
         on a.country = b.country and b.clicks > 1 order by country, clicks",
        &expect![[r#"
            +---------+--------+
            | country | clicks |
            +---------+--------+
            | de      | 3      |
            | de      | 3      |
            | fr      | 3      |
            | it      |        |
            |         |        |
            +---------+--------+"#]],
    )
    .await;
    check_rows(
        "select count(*) as n, max(o.id) as m from orders o",
        &expect![[r#"
        +---+---+
        | n | m |
        +---+---+
        | 0 |   |
        +---+---+"#]],
    )
    .await;
}

#[tokio::test]
async fn a_decimal_beside_a_float_becomes_a_float() {
    check_rows(
        "from events
         |> extend case when country = 'fr' then 'NaN'::double else clicks::double end as x
         |> where x > 0.25 and x between 2.5 and 'infinity'::double and x not in (5.0)
         |> select country, x + 0.5 as x
         |> order by country",
        &expect![[r#"
            +---------+-----+
            | country | x   |
            +---------+-----+
            | de      | 3.5 |
            +---------+-----+"#]],
    )
    .await;
}
