//! Streams of changes: a snapshot, then every change, without a gap, also for who comes back.

use std::collections::BTreeMap;

use change::Time;
use serde_json::{Value, json};

use crate::rig::{Event, Follower, Rig, orders, sums};

/// Applies an event to a copy of view `orders`: id → row.
fn absorb(copy: &mut BTreeMap<String, i64>, event: &Event) {
    let mut add = |row: &Value, diff: i64| {
        let mut row = row.clone();
        row.as_object_mut().unwrap().shift_remove("_diff");
        let count = copy.entry(row.to_string()).or_default();
        *count += diff;
        if *count == 0 {
            copy.remove(&row.to_string());
        }
    };
    match event.name.as_str() {
        "changes" => {
            for row in event.data.as_array().unwrap() {
                add(row, row["_diff"].as_i64().unwrap());
            }
        }
        "snapshot" => {
            for row in event.data["rows"].as_array().unwrap() {
                add(row, 1);
            }
        }
        other => panic!("unknown event {other}"),
    }
}

async fn until(follower: &mut Follower, id: u64) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = follower.next().await.expect("the stream goes on");
        let last = event.id;
        events.push(event);
        if last >= id {
            return events;
        }
    }
}

#[tokio::test]
async fn a_snapshot_is_followed_by_changes() {
    let rig = Rig::start().await;
    let mut follower = rig.follow("/v1/views/orders/changes", None).await;
    let snapshot = follower.next().await.unwrap();
    assert_eq!((snapshot.name.as_str(), snapshot.id), ("snapshot", 2));
    assert_eq!(
        (&snapshot.data["row_count"], &snapshot.data["truncated"], &snapshot.data["time"]),
        (&json!(2), &json!(false), &json!(2))
    );
    assert_eq!(snapshot.data["rows"].as_array().unwrap().len(), 2);
    let update = orders(&[(-1, (2, "blue kite", 900)), (1, (2, "blue kite", 950))]);
    rig.views.apply(Time(3), vec![(0, update)]).unwrap();
    let changes = follower.next().await.unwrap();
    assert_eq!((changes.name.as_str(), changes.id), ("changes", 3));
    let text = changes.data.to_string();
    assert_eq!(
        text,
        r#"[{"_diff":-1,"id":2,"title":"blue kite","total":9.00},{"_diff":1,"id":2,"title":"blue kite","total":9.50}]"#
    );
}

#[tokio::test]
async fn a_limited_snapshot_says_that_it_is() {
    let rig = Rig::start().await;
    let mut follower = rig.follow("/v1/views/sums/changes?limit=2", None).await;
    let snapshot = follower.next().await.unwrap();
    assert_eq!(snapshot.data["rows"], json!([{"n": 7}, {"n": 6}]));
    assert_eq!(
        (&snapshot.data["row_count"], &snapshot.data["truncated"]),
        (&json!(3), &json!(true))
    );
}

#[tokio::test]
async fn who_comes_back_misses_nothing_and_sees_nothing_twice() {
    let rig = Rig::start().await;
    let mut copy = BTreeMap::new();
    let mut last_id = None;
    let mut time = 2;
    for round in 0..20u64 {
        let mut follower = rig.follow("/v1/views/orders/changes", last_id).await;
        if round == 0 {
            let snapshot = follower.next().await.unwrap();
            assert_eq!(snapshot.name, "snapshot");
            absorb(&mut copy, &snapshot);
        }
        // Some changes while the reader is there, and some after it has gone.
        for step in 0..3 {
            time += 1;
            let id = i64::try_from(time).unwrap();
            rig.views.apply(Time(time), vec![(0, orders(&[(1, (id, "kite", 1))]))]).unwrap();
            if step == 1 {
                for event in until(&mut follower, time).await {
                    assert_eq!(event.name, "changes", "what is still kept needs no snapshot");
                    assert!(last_id.is_none_or(|last| event.id > last), "no event twice");
                    last_id = Some(event.id);
                    absorb(&mut copy, &event);
                }
            }
        }
    }
    let mut follower = rig.follow("/v1/views/orders/changes", last_id).await;
    for event in until(&mut follower, time).await {
        absorb(&mut copy, &event);
    }
    assert_eq!(copy.len(), 62, "two rows at first, sixty since");
    assert!(copy.values().all(|&count| count == 1), "every row once: {copy:?}");
}

#[tokio::test]
async fn who_comes_back_too_late_gets_a_snapshot() {
    let rig = Rig::start().await;
    // Steps that lead past the reader's Time cannot be cut: it is given a snapshot instead of a guess.
    rig.views.apply(Time(10), vec![(0, orders(&[(1, (10, "kite", 1))]))]).unwrap();
    let mut follower = rig.follow("/v1/views/orders/changes", Some(5)).await;
    let event = follower.next().await.unwrap();
    assert_eq!((event.name.as_str(), event.id), ("snapshot", 10));
    assert_eq!(event.data["row_count"], 3);
}

#[tokio::test]
async fn a_time_of_another_log_starts_anew() {
    let rig = Rig::start().await;
    let mut follower = rig.follow("/v1/views/orders/changes?log=0000", Some(2)).await;
    assert_eq!(follower.next().await.unwrap().name, "snapshot");
    let mut follower = rig.follow("/v1/views/orders/changes?log=ab12", Some(2)).await;
    rig.views.apply(Time(3), vec![(0, orders(&[(1, (3, "kite", 1))]))]).unwrap();
    let event = follower.next().await.unwrap();
    assert_eq!((event.name.as_str(), event.id), ("changes", 3));
}

#[tokio::test]
async fn several_views_move_together() {
    let rig = Rig::start().await;
    let mut follower = rig.follow("/v1/changes", None).await;
    let snapshot = follower.next().await.unwrap();
    assert_eq!(snapshot.data["orders"]["row_count"], 2);
    assert_eq!(snapshot.data["sums"]["rows"][0]["n"], 7);
    let together = vec![(0, orders(&[(1, (3, "kite", 1))])), (1, sums(&[(-1, 7), (1, 8)]))];
    rig.views.apply(Time(3), together).unwrap();
    let changes = follower.next().await.unwrap();
    assert_eq!(changes.id, 3);
    assert_eq!(changes.data["sums"], json!([{"_diff": -1, "n": 7}, {"_diff": 1, "n": 8}]));
    assert_eq!(changes.data["orders"].as_array().unwrap().len(), 1);
    rig.views.apply(Time(4), vec![]).unwrap();
    let passing = follower.next().await.unwrap();
    assert_eq!((passing.id, passing.data), (4, json!({})));
}

#[tokio::test]
async fn a_busy_view_sends_few_events_that_add_up() {
    let rig = Rig::start().await;
    let mut follower = rig.follow("/v1/views/sums/changes", None).await;
    assert_eq!(follower.next().await.unwrap().id, 2);
    for time in 3..2_003 {
        let old = i64::try_from(time).unwrap() + 5;
        let step =
            if time == 3 { sums(&[(-1, 7), (1, 9)]) } else { sums(&[(-1, old), (1, old + 1)]) };
        rig.views.apply(Time(time), vec![(1, step)]).unwrap();
    }
    let events = until(&mut follower, 2_002).await;
    assert!(events.len() < 40, "{} events for 2000 changes", events.len());
    let mut sum: BTreeMap<i64, i64> = BTreeMap::from([(5, 1), (6, 1), (7, 1)]);
    for row in events.iter().flat_map(|event| event.data.as_array().unwrap()) {
        *sum.entry(row["n"].as_i64().unwrap()).or_default() += row["_diff"].as_i64().unwrap();
    }
    sum.retain(|_, count| *count != 0);
    assert_eq!(sum, BTreeMap::from([(5, 1), (6, 1), (2_008, 1)]));
}

#[tokio::test]
async fn a_stream_ends_when_the_server_stops() {
    let mut rig = Rig::start().await;
    let mut follower = rig.follow("/v1/changes", None).await;
    follower.next().await.unwrap();
    rig.shutdown.send(true).unwrap();
    assert!(follower.next().await.is_none());
    rig.serving.take().unwrap().ended().await;
    assert!(tokio::net::TcpStream::connect(rig.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_stream_ends_with_a_word_when_its_view_is_dropped() {
    let rig = Rig::start().await;
    let mut one = rig.follow("/v1/views/sums/changes", None).await;
    let mut many = rig.follow("/v1/changes", None).await;
    let mut other = rig.follow("/v1/views/orders/changes", None).await;
    for follower in [&mut one, &mut many, &mut other] {
        assert_eq!(follower.next().await.unwrap().name, "snapshot");
    }
    let update = orders(&[(1, (3, "red kite", 700))]);
    let step =
        view::Step { changes: vec![(0, update)], removed: vec![1], ..view::Step::to(Time(3)) };
    rig.views.step(step).unwrap();
    for follower in [&mut one, &mut many] {
        let last = follower.next().await.unwrap();
        assert_eq!((last.name.as_str(), last.id), ("dropped", 2));
        assert_eq!(last.data, json!({ "view": "sums" }));
        assert!(follower.next().await.is_none(), "nothing follows");
    }
    assert_eq!(other.next().await.unwrap().name, "changes");
    // Who follows all views comes back, and goes on with those that there are.
    let mut back = rig.follow("/v1/changes", Some(2)).await;
    let changes = back.next().await.unwrap();
    assert_eq!((changes.name.as_str(), changes.id), ("changes", 3));
}
