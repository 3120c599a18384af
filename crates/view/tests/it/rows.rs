//! The store: equal to a model at every step, and old snapshots stay as they were.

use std::sync::Arc;
use std::time::Duration;

use arrow::compute::SortOptions;
use change::Time;
use expect_test::expect;
use plan::ir::OrderKey;
use proptest::prelude::*;
use view::{ViewError, ViewInfo, Views};

use crate::fixture::{Model, Person, change, changes, info, people, person, rows_of};

/// Turns random numbers into changes that are valid: a row goes only if it is there.
fn valid(model: &Model, seeds: &[(u8, u8, i8)]) -> Vec<(Person, i64)> {
    let mut after = model.clone();
    let mut rows = Vec::new();
    for &(id, name, diff) in seeds {
        let name = (name > 0).then(|| format!("name {}", name % 3));
        let row = (i64::from(id % 24), name, None);
        let diff = i64::from(diff).max(-after.get(&row).copied().unwrap_or(0));
        if diff != 0 {
            let step = [(row, diff)];
            change(&mut after, &step);
            rows.extend(step);
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn views_equal_the_sum_of_their_changes(
        steps in prop::collection::vec(
            (prop::collection::vec((any::<u8>(), 0u8..4, -2i8..4), 0..40),
             prop::collection::vec((any::<u8>(), 0u8..4, -2i8..4), 0..5)),
            1..40,
        )
    ) {
        let views = Views::new(vec![info("a", &[]), info("b", &[])]);
        let mut models = [Model::new(), Model::new()];
        let mut kept = Vec::new();
        for (time, (a, b)) in (1..).zip(&steps) {
            let step = [valid(&models[0], a), valid(&models[1], b)];
            let batches = step.iter().map(|rows| changes(rows)).enumerate().collect();
            views.apply(Time(time), batches).unwrap();
            for (model, rows) in models.iter_mut().zip(&step) {
                change(model, rows);
            }
            kept.push((views.snapshot(), models.clone()));
        }
        for (at, (snapshot, models)) in (1..).zip(&kept) {
            prop_assert_eq!(snapshot.time, Time(at));
            for (view, model) in ["a", "b"].into_iter().zip(models) {
                let expected = rows_of(model);
                prop_assert_eq!(people(&snapshot.rows(view).unwrap()), &expected[..]);
                prop_assert_eq!(snapshot.row_count(view).unwrap(), expected.len() as u64);
                let some = expected.len() / 2;
                let first = people(&snapshot.first_rows(view, some).unwrap());
                prop_assert_eq!(&first[..], &expected[..some]);
            }
        }
    }
}

#[test]
fn rows_come_in_the_declared_order() {
    let options = SortOptions { descending: true, nulls_first: false };
    let order = vec![OrderKey { column: 1, options }];
    let views = Views::new(vec![ViewInfo { order, ..info("people", &[0]) }]);
    let rows = [
        (person(1, "ada", "eu"), 1),
        (person(2, "zoe", "eu"), 1),
        ((3, None, None), 1),
        (person(4, "ada", "us"), 1),
    ];
    views.apply(Time(1), vec![(0, changes(&rows))]).unwrap();
    let csv = views.snapshot().csv("people").unwrap();
    expect![[r"
        id,name,region
        2,zoe,eu
        1,ada,eu
        4,ada,us
        3,,
    "]]
    .assert_eq(&String::from_utf8(csv).unwrap());
}

#[test]
fn large_steps_keep_every_row() {
    let views = Views::new(vec![info("people", &[0])]);
    let all: Vec<_> = (0..50_000).map(|id| (person(id, "a", "b"), 1)).collect();
    views.apply(Time(1), vec![(0, changes(&all))]).unwrap();
    let before = views.snapshot();
    let odd = all.iter().filter(|(row, _)| row.0 % 2 == 1).cloned();
    let odd: Vec<_> = odd.map(|(row, _)| (row, -1)).collect();
    views.apply(Time(2), vec![(0, changes(&odd))]).unwrap();
    let left = people(&views.snapshot().rows("people").unwrap());
    assert_eq!(left.len(), 25_000);
    assert!(left.iter().zip((0..).step_by(2)).all(|(row, id)| row.0 == id));
    assert_eq!(before.rows("people").unwrap().iter().map(|b| b.num_rows()).sum::<usize>(), 50_000);
    let bytes = |snapshot: &view::Snapshot| snapshot.bytes("people").unwrap();
    assert!(bytes(&before) > 0);
}

#[test]
fn an_unknown_view_is_answered_with_a_guess() {
    let views = Views::new(vec![info("revenue", &[0]), info("people", &[0])]);
    let error = views.snapshot().rows("reveune").unwrap_err();
    assert_eq!(error.code(), "VIEW001");
    expect![[r#"there is no view "reveune": did you mean "revenue"?"#]]
        .assert_eq(&format!("{error}: {}", error.help().unwrap()));
    let error = views.subscribe("orders").unwrap_err();
    assert!(matches!(error, ViewError::UnknownView { .. }));
    expect!["the views are revenue, people"].assert_eq(&error.help().unwrap());
}

#[tokio::test]
async fn waiting_ends_when_the_time_is_reached() {
    let views = Views::new(vec![info("people", &[0])]);
    let blocked = {
        let views = Arc::clone(&views);
        std::thread::spawn(move || views.wait_past_blocking(Time(5), Duration::from_secs(60)))
    };
    let waiting = {
        let views = Arc::clone(&views);
        tokio::spawn(async move { views.wait_past(Time(5)).await })
    };
    views.apply(Time(4), Vec::new()).unwrap();
    views.apply(Time(7), Vec::new()).unwrap();
    assert_eq!(waiting.await.unwrap(), Time(7));
    assert_eq!(blocked.join().unwrap(), Time(7));
    assert_eq!(views.wait_past_blocking(Time(8), Duration::from_millis(1)), Time(7));
}

#[test]
fn json_of_a_snapshot_is_encoded_once() {
    let views = Views::new(vec![info("people", &[0]), info("other", &[0])]);
    views.apply(Time(1), vec![(0, changes(&[(person(1, "ada", "eu"), 1)]))]).unwrap();
    let one = views.snapshot().json("people").unwrap();
    views.apply(Time(2), vec![(1, changes(&[(person(2, "zoe", "eu"), 1)]))]).unwrap();
    let two = views.snapshot().json("people").unwrap();
    assert_eq!(one.as_ptr(), two.as_ptr(), "the view did not change");
    expect![[r#"[{"id":1,"name":"ada","region":"eu"}]"#]]
        .assert_eq(std::str::from_utf8(&two).unwrap());
}
