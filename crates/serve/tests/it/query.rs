//! SQL over HTTP: formats, refusals, waiting for a Time.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use change::Time;
use hyper::Method;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, orders};

async fn query(rig: &Rig, sql: &str, accept: &str) -> Answer {
    rig.send(Method::POST, "/v1/query", &[("accept", accept)], sql).await
}

#[tokio::test]
async fn all_formats_say_the_same() {
    let rig = Rig::start().await;
    let sql = "select * from orders order by id";
    let json = query(&rig, sql, "application/json").await;
    assert_eq!(json.headers["evert-time"], "2");
    let rows = json.json()["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 2);

    let lines = query(&rig, sql, "application/x-ndjson").await;
    let lines: Vec<Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, rows);

    let csv = query(&rig, sql, "text/csv").await;
    assert_eq!(csv.headers["content-type"], "text/csv");
    assert_eq!(csv.text(), "id,title,total\n1,red <b>kite</b>,12.50\n2,blue kite,9.00\n");

    let arrow = query(&rig, sql, "application/vnd.apache.arrow.stream").await;
    let reader = StreamReader::try_new(Cursor::new(arrow.body), None).unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let decoded: Vec<Value> =
        batches.iter().flat_map(view::json::to_maps).map(Value::Object).collect();
    assert_eq!(decoded, rows);
}

#[tokio::test]
async fn an_empty_result_has_its_columns_in_every_format() {
    let rig = Rig::start().await;
    let sql = "select id, total from orders where id < 0";
    let json = query(&rig, sql, "application/json").await.json();
    assert_eq!((&json["rows"], &json["columns"][1]["name"]), (&json!([]), &json!("total")));
    assert_eq!(query(&rig, sql, "text/csv").await.text(), "id,total\n");
    assert_eq!(query(&rig, sql, "application/x-ndjson").await.text(), "");
    let arrow = query(&rig, sql, "application/vnd.apache.arrow.stream").await;
    let reader = StreamReader::try_new(Cursor::new(arrow.body), None).unwrap();
    assert_eq!(reader.schema().field(0).name(), "id");
}

#[tokio::test]
async fn equal_names_do_not_hide_each_other() {
    let rig = Rig::start().await;
    let sql = "select a.id, b.id from orders a join orders b on a.id <> b.id order by a.id";
    let json = query(&rig, sql, "application/json").await.json();
    assert_eq!(json["rows"][0], json!({"id": 1, "id_2": 2}));
}

#[tokio::test]
async fn sql_comes_as_text_or_as_json() {
    let rig = Rig::start().await;
    let count = "select count(*) as n from orders";
    let kinds = [
        ("application/sql", count.to_owned()),
        ("application/x-www-form-urlencoded", count.to_owned()),
        ("application/json", json!({ "sql": count }).to_string()),
    ];
    for (kind, body) in kinds {
        let headers = [("content-type", kind)];
        let answer = rig.send(Method::POST, "/v1/query", &headers, &body).await.json();
        assert_eq!(answer["rows"], json!([{"n": 2}]), "{kind}");
    }
}

#[tokio::test]
async fn wrong_requests_are_refused_with_their_code() {
    let rig = Rig::start().await;
    let (status, code, help) = query(&rig, "select * from order_s", "*/*").await.problem();
    assert_eq!((status, code.as_str()), (404, "VIEW001"));
    assert!(help.unwrap().contains("orders"));
    let (status, code, _) = query(&rig, "selekt", "*/*").await.problem();
    assert_eq!((status, code.as_str()), (400, "VIEW004"));
    let (status, code, _) = query(&rig, "drop table orders", "*/*").await.problem();
    assert_eq!((status, code.as_str()), (400, "VIEW003"));
    let (status, code, help) = query(&rig, "select 1", "image/png").await.problem();
    assert_eq!((status, code.as_str()), (406, "SRV013"));
    assert!(help.unwrap().contains("text/csv"));
    let json = [("content-type", "application/json")];
    let (status, code, _) = rig.send(Method::POST, "/v1/query", &json, "select 1").await.problem();
    assert_eq!((status, code.as_str()), (400, "SRV011"));
    let large = "x".repeat((1 << 20) + 1);
    let (status, code, _) = query(&rig, &large, "*/*").await.problem();
    assert_eq!((status, code.as_str()), (413, "SRV009"));
}

#[tokio::test]
async fn a_query_waits_for_the_time_that_it_asks_for() {
    let rig = Rig::start().await;
    let late = "/v1/query?wait_for=3&timeout_ms=50";
    let count = "select count(*) as n from orders";
    let (status, code, _) = rig.send(Method::POST, late, &[], count).await.problem();
    assert_eq!((status, code.as_str()), (504, "SRV015"));

    let waiting = rig.send(Method::POST, "/v1/query?wait_for=3", &[], count);
    let moving = async {
        tokio::task::yield_now().await;
        rig.views.apply(Time(3), vec![(0, orders(&[(1, (3, "green kite", 1))]))]).unwrap();
    };
    let (answer, ()) = tokio::join!(waiting, moving);
    assert_eq!(answer.headers["evert-time"], "3");
    assert_eq!(answer.json()["rows"], json!([{"n": 3}]));
}

#[tokio::test]
async fn a_large_result_arrives_whole() {
    let rig = Rig::start().await;
    let rows: Vec<(i64, i64)> = (0..20_000).map(|n| (1, n + 100)).collect();
    rig.views.apply(Time(3), vec![(1, crate::rig::sums(&rows))]).unwrap();
    let json = query(&rig, "select n from sums order by n", "application/json").await.json();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[20_002]), (20_003, &json!({"n": 20_099})));
}
