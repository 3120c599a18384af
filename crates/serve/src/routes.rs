//! The routes: each reads its parameters, takes a snapshot, and answers with its Time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use change::Time;
use http_body_util::LengthLimitError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use view::search::{Hit, SearchReader};
use view::{QueryOptions, Snapshot, ViewError, ViewInfo};

use crate::api::{
    Digests, Health, Lacking, Order, QueryRequest, SearchHit, SearchResult, SqlAnswer, Status,
    Stopping, TIME_HEADER, ViewDigest, ViewList, ViewStatus,
};
use crate::changes::{self, Shape, Wanted};
use crate::columns::columns;
use crate::error::RequestError;
use crate::format::{Answer, Format, window};
use crate::guard::{Names, guard};
use crate::limits::{
    HITS_DEFAULT, HITS_MAX, ROWS_DEFAULT, ROWS_MAX, SEARCH_BYTES_MAX, SNAPSHOT_ROWS_DEFAULT,
    SNAPSHOT_ROWS_MAX, TIME_WAIT_DEFAULT,
};
use crate::page::page;
use crate::parameters::Parameters;
use crate::server::Site;

type Pairs = Query<Vec<(String, String)>>;
type Name = Result<Path<String>, PathRejection>;

/// What all requests of a listener share.
#[derive(Clone)]
pub(crate) struct Shared {
    site: Site,
    reads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    shutdown: watch::Receiver<bool>,
}

impl Shared {
    pub(crate) fn new(site: Site, shutdown: watch::Receiver<bool>) -> Self {
        let reads = Arc::new(Semaphore::new(site.limits.reads_max));
        let streams = Arc::new(Semaphore::new(site.limits.streams_max));
        Self { site, reads, streams, shutdown }
    }

    fn begin_read(&self) -> Result<OwnedSemaphorePermit, RequestError> {
        let busy = |_| RequestError::Busy { count: self.site.limits.reads_max, what: "reads" };
        Arc::clone(&self.reads).try_acquire_owned().map_err(busy)
    }

    fn begin_stream(&self) -> Result<OwnedSemaphorePermit, RequestError> {
        let busy =
            |_| RequestError::Busy { count: self.site.limits.streams_max, what: "change streams" };
        Arc::clone(&self.streams).try_acquire_owned().map_err(busy)
    }

    fn index(&self, view: &str) -> Option<SearchReader> {
        self.site.backend.search_reader(view)
    }

    fn view_status(&self, snapshot: &Snapshot) -> Result<Vec<ViewStatus>, ViewError> {
        let status = |info: &Arc<ViewInfo>| {
            let searchable = self.index(&info.name).is_some();
            let mut status = view_status(info, snapshot.row_count(&info.name)?, searchable);
            status.lacking_rows = snapshot.lacking_rows(&info.name)?;
            Ok(status)
        };
        snapshot.views().map(status).collect()
    }
}

/// All routes. Those that stop the process and write to it exist only where the file system guards the way to it.
pub(crate) fn router(shared: Shared, names: Names) -> Router {
    let routes = Router::new()
        .route("/", get(page))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/views", get(view_list))
        .route("/v1/views/{name}", get(view_rows))
        .route("/v1/views/{name}/changes", get(view_changes))
        .route("/v1/changes", get(all_changes))
        .route("/v1/query", post(query))
        .route("/v1/search/{view}", get(search));
    let routes = match names {
        Names::Any => routes
            .route("/v1/stop", post(stop))
            .route("/v1/sql", post(sql))
            // It reads every row of every view.
            .route("/v1/digests", get(digests)),
        Names::Only(_) => routes,
    };
    routes
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(names, guard))
        .with_state(shared)
}

async fn health(State(shared): State<Shared>) -> Json<Health> {
    Json(Health { status: "ok".to_owned(), time: shared.site.views.time() })
}

/// Numbers for Prometheus.
async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let kind = HeaderValue::from_static(crate::metrics::CONTENT_TYPE);
    let time = shared.site.views.time();
    let text = crate::metrics::text(&shared.site.backend.run_status(), time);
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn status(
    State(shared): State<Shared>,
    Query(pairs): Pairs,
) -> Result<Response, RequestError> {
    Parameters::new(pairs, &[])?;
    let run = shared.site.backend.run_status();
    let snapshot = shared.site.views.snapshot();
    let status = Status {
        version: run.version,
        uptime_ms: run.uptime_ms,
        time: snapshot.time,
        log: run.log,
        sources: run.sources,
        views: shared.view_status(&snapshot)?,
        filling: run.filling,
        sinks: run.sinks,
    };
    Ok(at(snapshot.time, Json(status)))
}

async fn view_list(
    State(shared): State<Shared>,
    Query(pairs): Pairs,
) -> Result<Response, RequestError> {
    Parameters::new(pairs, &[])?;
    let snapshot = shared.site.views.snapshot();
    let list = ViewList { time: snapshot.time, views: shared.view_status(&snapshot)? };
    Ok(at(snapshot.time, Json(list)))
}

async fn view_rows(
    State(shared): State<Shared>,
    name: Name,
    Query(pairs): Pairs,
    headers: HeaderMap,
) -> Result<Response, RequestError> {
    let name = path_name(name)?;
    let parameters = Parameters::new(pairs, &["limit", "offset"])?;
    let limit = parameters.count("limit", ROWS_DEFAULT, ROWS_MAX)?;
    let offset = parameters.count("offset", 0, usize::MAX - ROWS_MAX)?;
    let format = Format::accepted(&headers)?;
    let _read = shared.begin_read()?;
    let snapshot = shared.site.views.snapshot();
    let read = move || {
        let answer = Answer {
            time: snapshot.time,
            schema: Arc::clone(&snapshot.info(&name)?.schema),
            row_count: Some(snapshot.row_count(&name)?),
            lacking: told(snapshot.lacking([name.as_str()])),
            batches: window(snapshot.first_rows(&name, offset + limit)?, offset, limit),
        };
        Ok::<_, ViewError>(answer)
    };
    format.respond(blocking(read).await?)
}

async fn view_changes(
    State(shared): State<Shared>,
    name: Name,
    Query(pairs): Pairs,
    headers: HeaderMap,
) -> Result<Response, RequestError> {
    let views = vec![path_name(name)?];
    let parameters = Parameters::new(pairs, &["limit", "after", "log"])?;
    changes(&shared, views, Shape::One, &parameters, &headers)
}

/// Several views, all unless told, over one connection: a browser has few connections for one host.
async fn all_changes(
    State(shared): State<Shared>,
    Query(pairs): Pairs,
    headers: HeaderMap,
) -> Result<Response, RequestError> {
    let parameters = Parameters::new(pairs, &["view", "limit", "after", "log"])?;
    let mut views: Vec<String> = parameters.all("view").map(str::to_owned).collect();
    if views.is_empty() {
        views = shared.site.views.snapshot().views().map(|info| info.name.clone()).collect();
    }
    views.sort();
    views.dedup();
    changes(&shared, views, Shape::Many, &parameters, &headers)
}

fn changes(
    shared: &Shared,
    views: Vec<String>,
    shape: Shape,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<Response, RequestError> {
    let rows_max = parameters.count("limit", SNAPSHOT_ROWS_DEFAULT, SNAPSHOT_ROWS_MAX)?;
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = last_id.map(Time).or(parameters.time("after")?);
    // A Time of another log would be a lie here: that reader starts anew.
    let log = shared.site.backend.run_status().log.id;
    let after = after.filter(|_| parameters.text("log").is_none_or(|theirs| theirs == log));
    let permit = shared.begin_stream()?;
    let wanted = Wanted { views, shape, rows_max, after };
    let limits = shared.site.limits;
    let shutdown = shared.shutdown.clone();
    Ok(changes::respond(&shared.site.views, wanted, limits, shutdown, permit)?)
}

async fn query(
    State(shared): State<Shared>,
    Query(pairs): Pairs,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, RequestError> {
    let parameters = Parameters::new(pairs, &["wait_for", "timeout_ms"])?;
    let wait_for = parameters.time("wait_for")?;
    let wait = parameters.milliseconds("timeout_ms")?.unwrap_or(TIME_WAIT_DEFAULT);
    let format = Format::accepted(&headers)?;
    let sql = sql_text(&shared, &headers, body).await?;
    let _read = shared.begin_read()?;
    if let Some(time) = wait_for {
        wait_for_time(&shared, time, wait.min(shared.site.limits.time_wait_max)).await?;
    }
    let snapshot = shared.site.views.snapshot();
    let options =
        QueryOptions { timeout: shared.site.limits.query_wait, ..QueryOptions::INTERACTIVE };
    let result = snapshot.query_with(&sql, options).await?;
    format.respond(Answer {
        time: snapshot.time,
        schema: result.schema,
        batches: result.rows,
        row_count: None,
        lacking: told(result.lacking),
    })
}

/// Runs statements, one request after the other.
async fn sql(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<SqlAnswer>, RequestError> {
    let text = sql_text(&shared, &headers, body).await?;
    shared.site.backend.sql(text).await.map(Json).map_err(RequestError::Refused)
}

async fn wait_for_time(shared: &Shared, wanted: Time, wait: Duration) -> Result<(), RequestError> {
    let views = &shared.site.views;
    let reached = match tokio::time::timeout(wait, views.wait_past(wanted)).await {
        Ok(reached) => reached,
        Err(_elapsed) => views.time(),
    };
    if reached < wanted {
        return Err(RequestError::TimeNotReached { wanted, reached, wait });
    }
    Ok(())
}

/// The SQL of a body, which is that text or a JSON object around it.
async fn sql_text(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<String, RequestError> {
    let limits = &shared.site.limits;
    let bytes_max = limits.body_bytes_max;
    let wait = limits.request_wait;
    let bytes = tokio::time::timeout(wait, axum::body::to_bytes(body, bytes_max))
        .await
        .map_err(|_elapsed| RequestError::BodyTooSlow { wait })?
        .map_err(|error| match std::error::Error::source(&error) {
            Some(source) if source.is::<LengthLimitError>() => {
                RequestError::BodyTooLarge { bytes_max }
            }
            Some(_) | None => RequestError::Body { reason: error.to_string() },
        })?;
    let unreadable = |reason: String| RequestError::Body { reason };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("application/json")) {
        let request: QueryRequest =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        return Ok(request.sql);
    }
    String::from_utf8(bytes.into()).map_err(|error| unreadable(error.to_string()))
}

async fn search(
    State(shared): State<Shared>,
    view: Name,
    Query(pairs): Pairs,
) -> Result<Response, RequestError> {
    let view = path_name(view)?;
    let parameters = Parameters::new(pairs, &["q", "limit"])?;
    let limit = parameters.count("limit", HITS_DEFAULT, HITS_MAX)?;
    let words = parameters.text("q").unwrap_or_default().to_owned();
    if words.len() > SEARCH_BYTES_MAX {
        let reason = format!("a search has at most {SEARCH_BYTES_MAX} bytes");
        return Err(RequestError::Parameter { name: "q", reason });
    }
    let snapshot = shared.site.views.snapshot();
    snapshot.info(&view)?;
    let Some(index) = shared.index(&view) else {
        let names = snapshot.views().map(|info| info.name.clone());
        let indexed = names.filter(|name| shared.index(name).is_some()).collect();
        return Err(RequestError::NoIndex { view, indexed });
    };
    let _read = shared.begin_read()?;
    let result = blocking(move || {
        // Asked first: what is found is of this Time, or of a later one.
        let time = index.held()?.unwrap_or_default();
        let found = index.search(&words, limit)?;
        let hit = |hit: Hit| SearchHit { score: hit.score, copies: hit.copies, row: hit.row };
        let hits = found.hits.into_iter().map(hit).collect();
        Ok(SearchResult { time, total: found.total, hits })
    });
    let result = result.await?;
    Ok(at(result.time, Json(result)))
}

async fn digests(State(shared): State<Shared>) -> Result<Response, RequestError> {
    let _read = shared.begin_read()?;
    let snapshot = shared.site.views.snapshot();
    let time = snapshot.time;
    // Asked afterwards: the log reaches at least as far as the views.
    let log = shared.site.backend.run_status().log;
    let read = move || {
        let digest = |info: &Arc<ViewInfo>| {
            Ok(ViewDigest {
                name: info.name.clone(),
                row_count: snapshot.row_count(&info.name)?,
                lacking_rows: snapshot.lacking_rows(&info.name)?,
                digest: snapshot.digest(&info.name)?,
            })
        };
        snapshot.views().map(digest).collect::<Result<Vec<_>, ViewError>>()
    };
    let views = blocking(read).await?;
    Ok(at(time, Json(Digests { time, log, views })))
}

async fn stop(State(shared): State<Shared>) -> Json<Stopping> {
    shared.site.backend.stop();
    Json(Stopping { stopping: true })
}

async fn no_route(uri: Uri) -> RequestError {
    RequestError::NoRoute { path: uri.path().to_owned() }
}

async fn no_method(uri: Uri) -> RequestError {
    RequestError::Method { path: uri.path().to_owned() }
}

fn path_name(name: Name) -> Result<String, RequestError> {
    let unreadable =
        |error: PathRejection| RequestError::Parameter { name: "path", reason: error.body_text() };
    Ok(name.map_err(unreadable)?.0)
}

/// Adds the Time that the answer is exact at.
fn at(time: Time, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(HeaderName::from_static(TIME_HEADER), HeaderValue::from(time.0));
    response
}

/// Runs what takes a while beside the threads that serve others.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ViewError> + Send + 'static,
) -> Result<T, ViewError> {
    tokio::task::spawn_blocking(read).await.expect("a read does not panic")
}

fn told(lacking: Vec<view::Lacking>) -> Vec<Lacking> {
    lacking.into_iter().map(Lacking::from).collect()
}

fn view_status(info: &ViewInfo, row_count: u64, searchable: bool) -> ViewStatus {
    let name = |column: usize| info.schema.field(column).name().clone();
    let order = info.order.iter().map(|key| Order {
        column: name(key.column),
        descending: key.options.descending,
        nulls_first: key.options.nulls_first,
    });
    ViewStatus {
        name: info.name.clone(),
        row_count,
        lacking_rows: 0,
        columns: columns(&info.schema),
        key: info.key.iter().map(|&column| name(column)).collect(),
        order: order.collect(),
        searchable,
    }
}
