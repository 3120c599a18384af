//! Words over HTTP, from a real index.

use change::Time;
use serde_json::json;
use serve::Limits;
use view::search::SearchIndex;

use crate::rig::{Process, Rig, infos, orders};

async fn start(dir: &std::path::Path) -> Rig {
    let mut index = SearchIndex::open(dir, &infos()[0], [7; 16], "0123456789abcdef", &[]).unwrap();
    let rows =
        [(1, (1, "red <b>kite</b>", 1_250)), (1, (2, "blue kite", 900)), (1, (3, "boat", 5))];
    index.apply(&orders(&rows)).unwrap();
    index.commit(Time(2)).unwrap();
    let mut process = Process::default();
    process.indexes.insert("orders".to_owned(), index.reader());
    Rig::start_with(process, Limits::STANDARD).await
}

#[tokio::test]
async fn rows_are_found_by_their_words() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path()).await;
    let found = rig.get("/v1/search/orders?q=blue%20kite").await;
    assert_eq!(found.headers["evert-time"], "2");
    let found = found.json();
    assert_eq!((&found["time"], &found["hits"][0]["row"]["id"]), (&json!(2), &json!(2)));
    assert!(found["hits"][0]["score"].as_f64().unwrap() > 0.0);
    let found = rig.get("/v1/search/orders?q=kite&limit=1").await.json();
    assert_eq!((found["hits"].as_array().unwrap().len(), &found["total"]), (1, &json!(2)));
    assert_eq!(rig.get("/v1/search/orders?q=zebra").await.json()["hits"], json!([]));
    let views = rig.get("/v1/views").await.json();
    assert_eq!(
        (&views["views"][0]["searchable"], &views["views"][1]["searchable"]),
        (&json!(true), &json!(false))
    );
}

#[tokio::test]
async fn a_search_that_cannot_be_is_refused_with_help() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path()).await;
    let (status, code, help) = rig.get("/v1/search/sums?q=kite").await.problem();
    assert_eq!((status, code.as_str()), (404, "SRV016"));
    assert!(help.unwrap().contains("orders"), "it names the views that can be searched");
    let (status, code, _) = rig.get("/v1/search/nothing?q=kite").await.problem();
    assert_eq!((status, code.as_str()), (404, "VIEW001"));
    let (status, code, _) = rig.get("/v1/search/orders?q=%22kite").await.problem();
    assert_eq!((status, code.as_str()), (400, "VIEW008"));
    let long = format!("/v1/search/orders?q={}", "x".repeat(1_025));
    let (status, code, _) = rig.get(&long).await.problem();
    assert_eq!((status, code.as_str()), (400, "SRV012"));
}
