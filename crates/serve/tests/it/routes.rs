//! Each route's answer and its refusals.

use hyper::Method;
use serde_json::json;

use crate::rig::{Process, Rig, orders};
use change::Time;
use serve::Limits;

#[tokio::test]
async fn health_says_the_time() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/health").await.json(), json!({"status": "ok", "time": 2}));
}

#[tokio::test]
async fn status_shows_all_that_runs() {
    let rig = Rig::start().await;
    let answer = rig.get("/v1/status").await;
    assert_eq!(answer.headers["evert-time"], "2");
    let status: serve::api::Status = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((status.version.as_str(), status.time), ("9.9.9", Time(2)));
    assert_eq!((status.log.upper, status.sources[0].rows), (Time(8), 42));
    assert_eq!((status.sinks[0].held, status.sinks[0].behind_transactions), (Time(6), 1));
    assert_eq!((status.filling[0].name.as_str(), status.filling[0].rows), ("late", 30));
    let view = &status.views[0];
    assert_eq!((view.name.as_str(), view.row_count, view.searchable), ("orders", 2, false));
    assert_eq!(view.key, ["id"]);
    assert!(status.views[1].order[0].descending);
}

#[tokio::test]
async fn the_list_of_views_has_their_columns_and_counts() {
    let rig = Rig::start().await;
    let list = rig.get("/v1/views").await.json();
    assert_eq!(list["time"], 2);
    assert_eq!(list["views"][0]["row_count"], 2);
    assert_eq!(
        list["views"][0]["columns"],
        json!([
            {"name": "id", "type": "bigint"},
            {"name": "title", "type": "text"},
            {"name": "total", "type": "numeric(12,2)"},
        ])
    );
}

#[tokio::test]
async fn rows_come_in_the_views_order_within_limit_and_offset() {
    let rig = Rig::start().await;
    let rows = rig.get("/v1/views/sums").await.json();
    assert_eq!(rows["rows"], json!([{"n": 7}, {"n": 6}, {"n": 5}]));
    let rows = rig.get("/v1/views/sums?offset=1&limit=1").await.json();
    assert_eq!((&rows["rows"], &rows["row_count"]), (&json!([{"n": 6}]), &json!(3)));
    let rows = rig.get("/v1/views/sums?offset=9").await.json();
    assert_eq!(rows["rows"], json!([]));
}

#[tokio::test]
async fn what_a_view_lacks_is_told_with_its_rows() {
    let rig = Rig::start().await;
    let error = view::RowError {
        view: 1,
        expression: "a / b".to_owned(),
        row: r#"{"a":1,"b":0}"#.to_owned(),
        message: "Divide by zero error".to_owned(),
        diff: 2,
    };
    rig.views.apply_with_errors(Time(3), vec![], vec![error]).unwrap();
    let lacking = json!([{"view": "sums", "rows": 2}]);
    let answer = rig.get("/v1/views/sums").await;
    assert_eq!(answer.headers["evert-lacking"], r#"{"sums":2}"#);
    assert_eq!(answer.json()["lacking"], lacking);
    let query = "select count(*) as n from sums join orders on true";
    let answer = rig.send(Method::POST, "/v1/query", &[("accept", "text/csv")], query).await;
    assert_eq!(answer.headers["evert-lacking"], r#"{"sums":2}"#);
    let answer = rig.get("/v1/views/orders").await;
    assert_eq!((answer.headers.get("evert-lacking"), answer.json().get("lacking")), (None, None));

    let status: serve::api::Status =
        serde_json::from_value(rig.get("/v1/status").await.json()).unwrap();
    let lacking: Vec<_> =
        status.views.iter().map(|view| (view.name.as_str(), view.lacking_rows)).collect();
    assert_eq!(lacking, [("orders", 0), ("sums", 2)], "the errors are no view of the user's");
    let errors = rig.get("/v1/views/evert.errors").await.json();
    let error = json!({
        "view": "sums", "expression": "a / b", "row": r#"{"a":1,"b":0}"#,
        "message": "Divide by zero error", "count": 2,
    });
    assert_eq!((&errors["time"], &errors["rows"]), (&json!(3), &json!([error])));
}

#[tokio::test]
async fn metrics_are_numbers_with_their_kind_and_meaning() {
    let rig = Rig::start().await;
    let answer = rig.get("/metrics").await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    let text = answer.text();
    assert!(text.contains("# TYPE evert_log_bytes gauge\nevert_log_bytes 4096\n"), "{text}");
    for name in ["evert_damage_findings 0", "evert_scrub_bytes_total 0", "evert_log_time 7"] {
        assert!(text.lines().any(|line| line == name), "{name} in {text}");
    }
}

#[tokio::test]
async fn numbers_keep_their_digits_and_text_its_marks() {
    let rig = Rig::start().await;
    let answer = rig.get("/v1/views/orders").await;
    assert!(answer.text().contains(r#"{"id":1,"title":"red <b>kite</b>","total":12.50}"#));
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_help() {
    let rig = Rig::start().await;
    let (status, code, help) = rig.get("/v1/views/order").await.problem();
    assert_eq!((status, code.as_str()), (404, "VIEW001"));
    assert!(help.unwrap().contains("orders"), "the name is suggested");
    let (status, code, _) = rig.get("/v1/views/order/changes").await.problem();
    assert_eq!((status, code.as_str()), (404, "VIEW001"));
    let (status, code, help) = rig.get("/v2").await.problem();
    assert_eq!((status, code.as_str()), (404, "SRV007"));
    assert!(help.unwrap().contains("/v1/views"));
    let (status, code, _) = rig.send(Method::POST, "/v1/views", &[], "").await.problem();
    assert_eq!((status, code.as_str()), (405, "SRV008"));
    let (status, code, _) = rig.get("/v1/views/sums?limit=many").await.problem();
    assert_eq!((status, code.as_str()), (400, "SRV012"));
    let (status, code, _) = rig.get("/v1/views/sums?limit=100001").await.problem();
    assert_eq!((status, code.as_str()), (400, "SRV012"));
    let (status, code, help) = rig.get("/v1/views/sums?limt=1").await.problem();
    assert_eq!((status, code.as_str(), help), (400, "SRV012", None));
}

#[tokio::test]
async fn the_page_runs_only_its_own_script() {
    let rig = Rig::start().await;
    let page = rig.get("/").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    let nonce = policy.split_once("script-src 'nonce-").unwrap().1.split_once('\'').unwrap().0;
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.text().matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    let again = rig.get("/").await;
    assert_ne!(again.headers["content-security-policy"], policy, "a nonce is used once");
}

#[tokio::test]
async fn other_host_names_and_origins_are_refused() {
    let named = Process { host_names: vec!["evert.internal".to_owned()], ..Process::default() };
    let rig = Rig::start_with(named, Limits::STANDARD).await;
    let own = rig.address.to_string();
    for host in ["localhost", "localhost:7480", "127.0.0.1", "[::1]:9", "evert.internal", &own] {
        let answer = rig.send(Method::GET, "/health", &[("host", host)], "").await;
        assert_eq!(answer.status, 200, "{host} is ours");
    }
    let evil = [("host", "evil.example")];
    let (status, code, help) = rig.send(Method::GET, "/health", &evil, "").await.problem();
    assert_eq!((status, code.as_str()), (421, "SRV005"));
    assert!(help.unwrap().contains("localhost"));
    let evil = [("origin", "http://evil.example")];
    let (status, code, _) = rig.send(Method::POST, "/v1/query", &evil, "select 1").await.problem();
    assert_eq!((status, code.as_str()), (403, "SRV006"));
    let own = [("origin", format!("http://{own}"))];
    let own = own.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(rig.send(Method::POST, "/v1/query", &own, "select 1").await.status, 200);
}

#[tokio::test]
async fn tcp_cannot_stop_the_process() {
    let rig = Rig::start().await;
    let (status, _, _) = rig.send(Method::POST, "/v1/stop", &[], "").await.problem();
    assert_eq!(status, 404);
    assert!(!rig.process.stopped.load(std::sync::atomic::Ordering::SeqCst));
}

#[tokio::test]
async fn every_answer_is_of_one_time() {
    let rig = Rig::start().await;
    rig.views.apply(Time(3), vec![(0, orders(&[(-1, (2, "blue kite", 900))]))]).unwrap();
    let rows = rig.get("/v1/views/orders").await;
    assert_eq!(rows.headers["evert-time"], "3");
    let rows = rows.json();
    assert_eq!((&rows["time"], &rows["row_count"]), (&json!(3), &json!(1)));
}
