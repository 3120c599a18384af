//! Starts servers and speaks HTTP to them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use change::{ChangeBatch, Time, consolidate};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode, header::HeaderMap};
use hyper_util::rt::TokioIo;
use plan::ir::OrderKey;
use serde_json::Value;
use serve::api::{
    FillingStatus, LogStatus, Phase, Problem, SinkStatus, SourceStatus, SqlAnswer, SqlOutcome,
};
use serve::{Backend, Limits, RunStatus, Serving, Site, serve_tcp};
use tokio::net::TcpStream;
use tokio::sync::watch;
use view::search::SearchReader;
use view::{ViewInfo, Views};

/// No wait in these tests is longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The process behind the server.
#[derive(Default)]
pub(crate) struct Process {
    pub(crate) stopped: AtomicBool,
    pub(crate) indexes: BTreeMap<String, SearchReader>,
    pub(crate) host_names: Vec<String>,
}

impl Backend for Process {
    fn run_status(&self) -> RunStatus {
        RunStatus {
            version: "9.9.9".to_owned(),
            uptime_ms: 1_500,
            log: LogStatus {
                id: "ab12".to_owned(),
                upper: Time(8),
                bytes: 4_096,
                ..LogStatus::default()
            },
            filling: vec![FillingStatus {
                name: "late".to_owned(),
                time: Time(5),
                behind_transactions: 2,
                rows: 30,
                row_count: 7,
            }],
            sources: vec![SourceStatus {
                name: "shop".to_owned(),
                kind: "demo".to_owned(),
                phase: Phase::Streaming,
                rows: 42,
                position: Some("step 7".to_owned()),
                lag_ms: Some(3),
                ..SourceStatus::default()
            }],
            sinks: vec![SinkStatus {
                name: "orders_search".to_owned(),
                view: "orders".to_owned(),
                kind: "search".to_owned(),
                phase: Phase::Streaming,
                held: Time(6),
                behind_transactions: 1,
                ..SinkStatus::default()
            }],
        }
    }

    fn search_reader(&self, view: &str) -> Option<SearchReader> {
        self.indexes.get(view).cloned()
    }

    fn sql(&self, text: String) -> BoxFuture<'_, Result<SqlAnswer, Problem>> {
        let refused = Problem {
            code: "TAB001".to_owned(),
            title: "Statement refused".to_owned(),
            status: 400,
            detail: "it is there already".to_owned(),
            help: None,
        };
        let done = SqlOutcome::Wrote { how: text.clone(), rows: 1 };
        let answer = if text.starts_with("insert") {
            Ok(SqlAnswer { outcomes: vec![done], lacking: vec![] })
        } else {
            Err(refused)
        };
        Box::pin(std::future::ready(answer))
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    fn host_names(&self) -> Vec<String> {
        self.host_names.clone()
    }
}

/// A row of view `orders`: id, title, total in cents.
pub(crate) type Order = (i64, &'static str, i128);

pub(crate) fn orders_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("title", DataType::Utf8, true),
        Field::new("total", DataType::Decimal128(12, 2), true),
    ]))
}

/// Views `orders`, by key, and `sums`, which is shown in descending order.
pub(crate) fn infos() -> Vec<ViewInfo> {
    let descending = SortOptions { descending: true, nulls_first: true };
    vec![
        ViewInfo {
            name: "orders".to_owned(),
            schema: orders_schema(),
            key: vec![0],
            order: vec![],
        },
        ViewInfo {
            name: "sums".to_owned(),
            schema: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])),
            key: vec![],
            order: vec![OrderKey { column: 0, options: descending }],
        },
    ]
}

pub(crate) fn orders(rows: &[(i64, Order)]) -> ChangeBatch {
    let ids: Int64Array = rows.iter().map(|(_, row)| row.0).collect();
    let titles: StringArray = rows.iter().map(|(_, row)| Some(row.1)).collect();
    let totals: Decimal128Array = rows.iter().map(|(_, row)| Some(row.2)).collect();
    let totals = totals.with_precision_and_scale(12, 2).unwrap();
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(ids), Arc::new(titles), Arc::new(totals)];
    let batch = RecordBatch::try_new(orders_schema(), columns).unwrap();
    let diffs = Int64Array::from_iter_values(rows.iter().map(|(diff, _)| *diff));
    consolidate(&orders_schema(), &[ChangeBatch::new(batch, diffs)]).unwrap()
}

pub(crate) fn sums(rows: &[(i64, i64)]) -> ChangeBatch {
    let schema = Arc::clone(&infos()[1].schema);
    let numbers: Int64Array = rows.iter().map(|(_, n)| *n).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(numbers)]).unwrap();
    let diffs = Int64Array::from_iter_values(rows.iter().map(|(diff, _)| *diff));
    consolidate(&schema, &[ChangeBatch::new(batch, diffs)]).unwrap()
}

/// A server on a port of its own.
pub(crate) struct Rig {
    pub(crate) views: Arc<Views>,
    pub(crate) process: Arc<Process>,
    pub(crate) address: SocketAddr,
    pub(crate) serving: Option<Serving>,
    pub(crate) shutdown: watch::Sender<bool>,
}

impl Rig {
    /// Two orders at Time 1, three sums at Time 2.
    pub(crate) async fn start() -> Self {
        Self::start_with(Process::default(), Limits::STANDARD).await
    }

    pub(crate) async fn start_with(process: Process, limits: Limits) -> Self {
        let views = Views::new(infos());
        let first = orders(&[(1, (1, "red <b>kite</b>", 1_250)), (1, (2, "blue kite", 900))]);
        views.apply(Time(1), vec![(0, first)]).unwrap();
        views.apply(Time(2), vec![(1, sums(&[(1, 5), (1, 7), (1, 6)]))]).unwrap();
        let process = Arc::new(process);
        let shutdown = watch::Sender::new(false);
        let site = Site {
            backend: Arc::clone(&process) as Arc<dyn Backend>,
            views: Arc::clone(&views),
            limits,
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let serving = serve_tcp(any, site, shutdown.subscribe()).await.unwrap();
        let address = serving.address().unwrap();
        Self { views, process, address, serving: Some(serving), shutdown }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let response = self.open(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(DEADLINE, body.collect()).await.expect("the body ends");
        Answer { status: parts.status, headers: parts.headers, body: body.unwrap().to_bytes() }
    }

    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> hyper::Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let sent = sender.send_request(request);
        tokio::time::timeout(DEADLINE, sent).await.expect("an answer comes").unwrap()
    }

    /// Follows a stream of changes.
    pub(crate) async fn follow(&self, path: &str, last_id: Option<u64>) -> Follower {
        let last_id = last_id.map(|id| id.to_string());
        let headers: Vec<(&str, &str)> =
            last_id.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let response = self.open(Method::GET, path, &headers, "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Follower { body: response.into_body(), text: String::new() }
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The problem's status, code and help, after checking its form.
    pub(crate) fn problem(&self) -> (u16, String, Option<String>) {
        assert_eq!(self.headers["content-type"], "application/problem+json; charset=utf-8");
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status.as_u16());
        assert!(!problem.title.is_empty() && !problem.detail.is_empty());
        (problem.status, problem.code, problem.help)
    }
}

/// The reader of a stream of changes.
pub(crate) struct Follower {
    body: Incoming,
    text: String,
}

/// A server-sent event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: u64,
    pub(crate) data: Value,
}

impl Follower {
    /// The next event; `None` when the stream has ended. Comments are passed over.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let Some(event) = field("event: ") {
                return Some(Event {
                    name: event.to_owned(),
                    id: field("id: ").unwrap().parse().unwrap(),
                    data: serde_json::from_str(field("data: ").unwrap()).unwrap(),
                });
            }
        }
    }

    /// The next block of lines, whatever it is.
    pub(crate) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await;
            let frame = frame.expect("something comes in time")?.ok()?;
            self.text.push_str(std::str::from_utf8(&frame.into_data().ok()?).unwrap());
        }
    }
}
