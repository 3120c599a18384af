//! Views that come and go: each is there from one Time on, until another, together with the others.

use change::Time;
use view::store::{Draft, Step};
use view::{ERRORS, Event, RowError, ViewError, Views, json};

use crate::fixture::{changes, info, person};

fn error(view: usize, diff: i64) -> RowError {
    let (expression, message) = ("a / b".to_owned(), "Divide by zero error".to_owned());
    RowError { view, expression, row: "r".to_owned(), message, diff }
}

/// A view of that name with one row, which lacks another.
fn draft(name: &str) -> Draft {
    let mut draft = Draft::new(info(name, &[0]));
    draft.apply(&[changes(&[(person(1, "ada", "eu"), 1)])], vec![error(7, 2)]).unwrap();
    draft.apply(&[changes(&[(person(2, "bob", "eu"), 1)])], vec![error(9, -1)]).unwrap();
    draft
}

fn names(views: &Views) -> Vec<String> {
    views.snapshot().views().map(|info| info.name.clone()).collect()
}

#[tokio::test]
async fn a_view_comes_with_a_step_and_moves_from_then_on() {
    let views = Views::new(vec![info("old", &[0])]);
    views.apply(Time(3), vec![(0, changes(&[(person(1, "ada", "eu"), 1)]))]).unwrap();
    let mut errors = views.subscribe(ERRORS).unwrap();
    errors.next().await.unwrap();
    let before = views.snapshot();
    let comes = draft("new");
    assert_eq!((comes.info().name.as_str(), comes.row_count()), ("new", 2));
    let step = Step { shown: vec![comes], ..Step::to(Time(4)) };
    let numbers = views.step(step).unwrap();
    assert_eq!(numbers, [1]);
    assert!(matches!(before.rows("new"), Err(ViewError::UnknownView { .. })));
    let snapshot = views.snapshot();
    assert_eq!((snapshot.time, snapshot.row_count("new").unwrap()), (Time(4), 2));
    assert_eq!(snapshot.lacking_rows("new").unwrap(), 1);
    let Some(Event::Changes(update)) = errors.next().await.unwrap() else { panic!("a change") };
    assert_eq!((update.time, update.changes.diffs()), (Time(4), &[1][..]));
    assert_eq!(names(&views), ["old", "new"]);

    let mut subscription = views.subscribe("new").unwrap();
    assert!(matches!(subscription.next().await.unwrap(), Some(Event::Snapshot(_))));
    // A Time before the view was there is no place to go on from.
    let mut resumed = views.resume("new", Time(3)).unwrap();
    assert!(matches!(resumed.next().await.unwrap(), Some(Event::Snapshot(_))));
    let third = changes(&[(person(3, "eve", "us"), 1)]);
    views.apply_with_errors(Time(5), vec![(1, third)], vec![error(1, -1)]).unwrap();
    let Some(Event::Changes(update)) = subscription.next().await.unwrap() else { panic!() };
    assert_eq!((update.after, update.time), (Time(4), Time(5)));
    let read = views.snapshot().query("select count(*) as n from new").await.unwrap();
    assert_eq!(json::to_array(&read.rows), br#"[{"n":3}]"#);
    assert_eq!(views.snapshot().row_count(ERRORS).unwrap(), 0);
}

#[tokio::test]
async fn a_view_goes_with_a_step_and_its_followers_are_told() {
    let views = Views::new(vec![info("a", &[0]), info("b", &[0]), info("c", &[0])]);
    let row = || changes(&[(person(1, "ada", "eu"), 1)]);
    views.apply_with_errors(Time(1), vec![(0, row()), (1, row())], vec![error(1, 3)]).unwrap();
    let mut following = views.subscribe("b").unwrap();
    following.next().await.unwrap();
    let mut starting = views.subscribe("b").unwrap();
    let mut other = views.subscribe("c").unwrap();
    other.next().await.unwrap();
    let waiting = tokio::spawn(async move { following.next().await });
    tokio::task::yield_now().await;
    let kept = views.snapshot();
    // What the step says of the view itself does not matter any more.
    let step = Step {
        changes: vec![(1, row()), (2, row())],
        errors: vec![error(1, 1)],
        removed: vec![1],
        ..Step::to(Time(2))
    };
    views.step(step).unwrap();
    for end in [waiting.await.unwrap(), starting.next().await] {
        let error = end.unwrap_err();
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            ("VIEW015", "view \"b\" was dropped")
        );
    }
    assert_eq!(names(&views), ["a", "c"]);
    assert!(views.subscribe("b").is_err());
    assert_eq!(kept.row_count("b").unwrap(), 1, "an old snapshot stays as it was");
    assert_eq!(views.snapshot().row_count(ERRORS).unwrap(), 0);
    let Some(Event::Changes(update)) = other.next().await.unwrap() else { panic!() };
    assert_eq!(update.time, Time(2), "the numbers of others are as before");

    // One of the same name is another view, with a number of its own.
    let mut before = views.resume("c", Time(2)).unwrap();
    let step = Step { shown: vec![draft("b")], removed: vec![2], ..Step::to(Time(3)) };
    assert_eq!(views.step(step).unwrap(), [3]);
    assert!(before.next().await.is_err());
    assert_eq!(names(&views), ["a", "b"]);
    views.apply(Time(4), vec![(3, row())]).unwrap();
    assert_eq!(views.snapshot().row_count("b").unwrap(), 3);
}
