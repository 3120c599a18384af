//! `evert.errors`: moves with the views, counts equal rows, and is read by its name.

use change::Time;
use view::{ERRORS, RowError, ViewError, Views, json};

use crate::fixture::{changes, info, person};

fn error(view: usize, row: &str, diff: i64) -> RowError {
    let (expression, message) = ("a / b".to_owned(), "Divide by zero error".to_owned());
    RowError { view, expression, row: row.to_owned(), message, diff }
}

fn rows(snapshot: &view::Snapshot) -> Vec<(String, String, i64)> {
    let rows = snapshot.rows(ERRORS).unwrap();
    let rows = rows.iter().flat_map(json::to_maps);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    rows.map(|row| (text(&row["view"]), text(&row["row"]), row["count"].as_i64().unwrap()))
        .collect()
}

#[tokio::test]
async fn rows_that_views_lack_come_and_go_with_the_views() {
    let views = Views::new(vec![info("people", &[0]), info("others", &[0])]);
    let person = changes(&[(person(1, "ada", "eu"), 1)]);
    let step = vec![error(0, "r", 1), error(1, "r", 1), error(0, "r", 1), error(0, "s", 1)];
    views.apply_with_errors(Time(1), vec![(0, person)], step).unwrap();
    let first = views.snapshot();
    let row = |view: &str, row: &str, count| (view.to_owned(), row.to_owned(), count);
    assert_eq!(rows(&first), [row("others", "r", 1), row("people", "r", 2), row("people", "s", 1)]);
    assert_eq!(first.lacking_rows("people").unwrap(), 3);

    // One of two equal rows goes, one comes and goes at once, one goes wholly.
    let step = vec![error(0, "r", -1), error(1, "t", 1), error(1, "t", -1), error(1, "r", -1)];
    views.apply_with_errors(Time(2), vec![], step).unwrap();
    let second = views.snapshot();
    assert_eq!(
        (second.time, rows(&second)),
        (Time(2), vec![row("people", "r", 1), row("people", "s", 1)])
    );
    assert_eq!(second.lacking_rows("people").unwrap(), 2);
    assert_eq!(second.lacking_rows("others").unwrap(), 0);
    assert_eq!(rows(&first).len(), 3, "an old snapshot stays as it was");

    let read = "select p.id from people p left join others o on p.id = o.id";
    let lacking = second.query(read).await.unwrap().lacking;
    let told: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["view people lacks 2 rows that could not be computed; see evert.errors"]);
    let sums = second.query("from evert.errors | aggregate sum(count) as n").await.unwrap();
    assert_eq!(json::to_array(&sums.rows), br#"[{"n":2}]"#);
    assert_eq!(sums.lacking, []);
    assert_eq!(second.views().count(), 2, "it is no view of the user's");
    for unknown in ["select * from errors", "select * from other.errors"] {
        let refused = second.query(unknown).await;
        assert!(matches!(refused, Err(ViewError::UnknownView { .. })), "{unknown}: {refused:?}");
    }
}

#[tokio::test]
async fn rows_that_views_lack_can_be_followed() {
    let views = Views::new(vec![info("people", &[0])]);
    let mut subscription = views.subscribe(ERRORS).unwrap();
    subscription.next().await.unwrap();
    views.apply_with_errors(Time(1), vec![], vec![error(0, "r", 1)]).unwrap();
    let view::Event::Changes(update) = subscription.next().await.unwrap().unwrap() else {
        panic!("a change behind the snapshot is a change");
    };
    assert_eq!(update.changes.diffs(), [1]);
}
