//! Subscriptions: no gap, no queue, and a way back.

use std::sync::Arc;

use change::Time;
use expect_test::expect;
use view::{Event, Subscription, ViewError, Views};

use crate::fixture::{Model, Person, change, changes, info, people, person, rows_of};

/// What a reader knows from the events so far.
#[derive(Default)]
struct Reader {
    model: Model,
    time: Time,
    snapshots: usize,
}

impl Reader {
    fn take(&mut self, event: Event) {
        match event {
            Event::Snapshot(snapshot) => {
                let rows: Vec<(Person, i64)> =
                    people(&snapshot.rows("people").unwrap()).into_iter().map(|r| (r, 1)).collect();
                self.model.clear();
                change(&mut self.model, &rows);
                self.time = snapshot.time;
                self.snapshots += 1;
            }
            Event::Changes(update) => {
                assert!(update.after >= self.time, "no change is sent twice");
                let rows = people(std::slice::from_ref(update.changes.rows()));
                let rows: Vec<(Person, i64)> =
                    rows.into_iter().zip(update.changes.diffs().iter().copied()).collect();
                change(&mut self.model, &rows);
                self.time = update.time;
            }
        }
    }
}

/// Renames person `time % 7` to a name that says when.
fn step(time: u64) -> Vec<(Person, i64)> {
    let id = i64::try_from(time % 7).unwrap();
    let now = (person(id, &format!("at {time}"), "eu"), 1);
    if time < 8 {
        return vec![now];
    }
    vec![(person(id, &format!("at {}", time - 7), "eu"), -1), now]
}

fn write(views: &Views, times: std::ops::RangeInclusive<u64>) {
    for time in times {
        views.apply(Time(time), vec![(0, changes(&step(time)))]).unwrap();
    }
}

fn model_at(last: u64) -> Model {
    let mut model = Model::new();
    for time in 1..=last {
        change(&mut model, &step(time));
    }
    model
}

async fn next(subscription: &mut Subscription) -> Event {
    subscription.next().await.unwrap().expect("the views are open")
}

#[tokio::test]
async fn a_subscriber_follows_without_a_gap() {
    let views = Views::new(vec![info("people", &[0])]);
    write(&views, 1..=20);
    let writer = {
        let views = Arc::clone(&views);
        std::thread::spawn(move || write(&views, 21..=2_000))
    };
    let mut subscription = views.subscribe("people").unwrap();
    let mut reader = Reader::default();
    while reader.time < Time(2_000) {
        reader.take(next(&mut subscription).await);
        assert_eq!(rows_of(&reader.model), rows_of(&model_at(reader.time.0)));
    }
    writer.join().unwrap();
    assert_eq!(reader.snapshots, 1);
}

#[tokio::test]
async fn identical_subscribers_share_one_copy() {
    let views = Views::new(vec![info("people", &[0])]);
    let mut subscriptions = [(); 2].map(|()| views.subscribe("people").unwrap());
    for subscription in &mut subscriptions {
        assert!(matches!(next(subscription).await, Event::Snapshot(_)));
    }
    write(&views, 1..=8);
    let mut last = Vec::new();
    for subscription in &mut subscriptions {
        for _ in 1..8 {
            next(subscription).await;
        }
        let Event::Changes(update) = next(subscription).await else { panic!("a change") };
        last.push(update.json());
    }
    assert_eq!(last[0].as_ptr(), last[1].as_ptr());
    expect![[
        r#"{"time":8,"changes":[{"_diff":-1,"id":1,"name":"at 1","region":"eu"},{"_diff":1,"id":1,"name":"at 8","region":"eu"}]}"#
    ]]
    .assert_eq(std::str::from_utf8(&last[0]).unwrap());
}

#[tokio::test]
async fn a_slow_subscriber_is_cut_off_and_starts_afresh() {
    let views = Views::new(vec![info("people", &[0])]);
    let mut subscription = views.subscribe("people").unwrap();
    let mut reader = Reader::default();
    reader.take(next(&mut subscription).await);
    write(&views, 1..=10);
    reader.take(next(&mut subscription).await);
    assert_eq!(reader.time, Time(1));
    write(&views, 11..=30_000);
    let error = subscription.next().await.unwrap_err();
    assert_eq!(error.code(), "VIEW002");
    assert!(matches!(error, ViewError::CutOff { after: Time(1), .. }));
    reader.take(next(&mut subscription).await);
    assert_eq!((reader.time, reader.snapshots), (Time(30_000), 2));
    assert_eq!(rows_of(&reader.model), rows_of(&model_at(30_000)));
}

#[tokio::test]
async fn resuming_continues_where_the_reader_stopped() {
    let views = Views::new(vec![info("people", &[0])]);
    write(&views, 1..=50);
    let mut reader = Reader { model: model_at(30), time: Time(30), snapshots: 0 };
    let mut subscription = views.resume("people", Time(30)).unwrap();
    while reader.time < Time(50) {
        reader.take(next(&mut subscription).await);
    }
    assert_eq!(reader.snapshots, 0, "all changes were still there");
    assert_eq!(rows_of(&reader.model), rows_of(&model_at(50)));
}

#[tokio::test]
async fn resuming_from_too_long_ago_gives_a_snapshot() {
    let views = Views::new(vec![info("people", &[0])]);
    write(&views, 1..=30_000);
    let mut subscription = views.resume("people", Time(3)).unwrap();
    let Event::Snapshot(snapshot) = next(&mut subscription).await else { panic!("a snapshot") };
    assert_eq!(snapshot.time, Time(30_000));
}

#[tokio::test]
async fn resuming_within_a_step_gives_a_snapshot() {
    let views = Views::new(vec![info("people", &[0])]);
    // A replay after a start takes larger steps than those that the reader has seen.
    views.apply(Time(10), vec![(0, changes(&step(1)))]).unwrap();
    let mut subscription = views.resume("people", Time(6)).unwrap();
    assert!(matches!(next(&mut subscription).await, Event::Snapshot(_)));
}

#[tokio::test]
async fn resuming_waits_for_the_replay() {
    let views = Views::new(vec![info("people", &[0])]);
    write(&views, 1..=5);
    let mut subscription = views.resume("people", Time(20)).unwrap();
    let follower = tokio::spawn(async move {
        let event = next(&mut subscription).await;
        let Event::Changes(update) = event else { panic!("a change, not the past") };
        update.time
    });
    tokio::task::yield_now().await;
    write(&views, 6..=21);
    assert_eq!(follower.await.unwrap(), Time(21));
}

#[tokio::test]
async fn closing_ends_subscriptions_behind_the_last_change() {
    let views = Views::new(vec![info("people", &[0])]);
    let mut subscription = views.subscribe("people").unwrap();
    next(&mut subscription).await;
    write(&views, 1..=2);
    views.close();
    let mut reader = Reader::default();
    while let Some(event) = subscription.next().await.unwrap() {
        reader.take(event);
    }
    assert_eq!(reader.time, Time(2));
    assert_eq!(views.wait_past(Time(100)).await, Time(2));
}
