//! Views as streams of server-sent events: a snapshot, then every change, each with the Time that it leads to.
//!
//! A stream follows one view or several. Several move together: an event holds the changes of all of them up to one
//! Time, so that a reader never sees two views of different Times. What changes between two events is summed, so a
//! busy view sends few events, and a row that came and went sends nothing.
//!
//! A stream holds no queue. It reads the views' own memory of past changes when its reader takes the next event; when
//! that memory has moved on, because the reader was slow or came back late, a fresh snapshot starts it anew.
//!
//! When a view that is followed is dropped, the last event says so, and the stream ends.
//!
//! Invariant: a snapshot plus the changes after it, up to any event, is the view at that event's id.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use change::{ChangeBatch, Time, consolidate};
use futures::{FutureExt, Stream, stream};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};
use view::subscribe::{Event, Subscription, Update};
use view::{Snapshot, ViewError, Views, json};

use crate::limits::Limits;
use crate::server::told;

/// What a reader asked for.
pub(crate) struct Wanted {
    /// The views to follow.
    pub(crate) views: Vec<String>,
    /// The event's data: one view's own, or an object of views.
    pub(crate) shape: Shape,
    /// The most rows of each view's snapshot.
    pub(crate) rows_max: usize,
    /// The Time up to which the reader has seen everything.
    pub(crate) after: Option<Time>,
}

/// What an event's data looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{"time", "row_count", "truncated", "rows"}`, then `[{"_diff": 1, …}, …]`.
    One,
    /// An object of those by view. A Time at which none of them changed is sent as `{}`.
    Many,
}

/// Answers with the stream. The permit is given back when the reader goes.
///
/// # Errors
/// When there is no such view.
pub(crate) fn respond(
    views: &Arc<Views>,
    wanted: Wanted,
    limits: Limits,
    shutdown: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) -> Result<Response, ViewError> {
    let follower = Follower::new(Arc::clone(views), wanted)?;
    let events = events(follower, limits, shutdown, permit);
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// The stream's bytes, made when the reader takes them.
fn events(
    follower: Follower,
    limits: Limits,
    shutdown: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    // Readers come back after a second, whatever their own habit.
    let hello = stream::once(async { Ok(Bytes::from_static(b"retry: 1000\n\n")) });
    let rest = stream::unfold(
        (follower, shutdown, permit),
        move |(mut follower, mut shutdown, permit)| async move {
            let bytes = tokio::select! {
                biased;
                () = told(&mut shutdown) => None,
                event = follower.next(limits) => event,
                () = sleep(limits.keepalive_interval) => Some(Bytes::from_static(b": still here\n\n")),
            };
            bytes.map(|bytes| (Ok(bytes), (follower, shutdown, permit)))
        },
    );
    futures::StreamExt::chain(hello, rest)
}

/// A reader's place in the views.
struct Follower {
    views: Arc<Views>,
    wanted: Wanted,
    feeds: Vec<Feed>,
    /// Everything up to this Time was sent.
    time: Time,
    /// A snapshot that must be sent first.
    start: Option<Snapshot>,
    /// When the next event may be sent.
    not_before: Instant,
    /// A view was dropped, and the reader was told.
    is_over: bool,
}

/// One view's changes.
struct Feed {
    subscription: Subscription,
    /// The next change, when it was seen before its Time was due.
    ahead: Option<Arc<Update>>,
}

/// What one view did between two events.
enum Gathered {
    Changes(ChangeBatch),
    One(Arc<Update>),
    Nothing,
    Lost(Snapshot),
}

impl Follower {
    fn new(views: Arc<Views>, wanted: Wanted) -> Result<Self, ViewError> {
        let (time, start) = match wanted.after {
            Some(after) => (after, None),
            None => {
                let snapshot = views.snapshot();
                (snapshot.time, Some(snapshot))
            }
        };
        let feeds = feeds(&views, &wanted.views, time)?;
        let (not_before, is_over) = (Instant::now(), false);
        Ok(Self { views, wanted, feeds, time, start, not_before, is_over })
    }

    /// Waits for the next event; `None` when the views were closed or broke, or one was dropped. Nothing is lost when it
    /// is cancelled.
    async fn next(&mut self, limits: Limits) -> Option<Bytes> {
        while !self.is_over {
            if let Some(snapshot) = &self.start {
                let event = self.snapshot_event(snapshot.clone()).await?;
                self.start = None;
                self.not_before = Instant::now() + limits.event_interval;
                return Some(event);
            }
            sleep_until(self.not_before).await;
            let due = self.views.wait_past(self.time.next()).await;
            if due <= self.time {
                return None;
            }
            match self.gather(due) {
                Ok(None) => {}
                Ok(Some(event)) => {
                    self.not_before = Instant::now() + limits.event_interval;
                    return Some(event);
                }
                // Which of the two it is depends on the moment.
                Err(ViewError::Dropped { view } | ViewError::UnknownView { name: view, .. }) => {
                    self.is_over = true;
                    let data = serde_json::json!({ "view": view }).to_string();
                    return Some(event("dropped", self.time, data.as_bytes()));
                }
                Err(error) => {
                    tracing::error!(%error, "a change stream ended");
                    return None;
                }
            }
        }
        None
    }

    /// Takes all changes up to `due`, and makes an event of them unless there are none.
    fn gather(&mut self, due: Time) -> Result<Option<Bytes>, ViewError> {
        let mut data = Vec::new();
        for feed in &mut self.feeds {
            let before = data.len();
            let name = &feed.subscription.info().name;
            match self.wanted.shape {
                Shape::One => {}
                Shape::Many => {
                    data.extend(if before == 0 { b"{" } else { b"," });
                    data.extend(Value::from(name.as_str()).to_string().bytes());
                    data.push(b':');
                }
            }
            match feed.gather(due)? {
                Gathered::Changes(changes) if changes.is_empty() => data.truncate(before),
                Gathered::Changes(changes) => json::write_changes(&changes, &mut data),
                Gathered::One(update) => data.extend(shared_changes(&update)),
                Gathered::Nothing => data.truncate(before),
                Gathered::Lost(snapshot) => {
                    self.restart(snapshot)?;
                    return Ok(None);
                }
            }
        }
        self.time = due;
        match self.wanted.shape {
            Shape::One if data.is_empty() => return Ok(None),
            Shape::One => {}
            Shape::Many if data.is_empty() => data.extend(b"{}"),
            Shape::Many => data.push(b'}'),
        }
        Ok(Some(event("changes", due, &data)))
    }

    fn restart(&mut self, snapshot: Snapshot) -> Result<(), ViewError> {
        self.time = snapshot.time;
        self.feeds = feeds(&self.views, &self.wanted.views, snapshot.time)?;
        self.start = Some(snapshot);
        Ok(())
    }

    /// Encodes a snapshot beside the threads that serve others: a large view takes a while to sort.
    async fn snapshot_event(&self, snapshot: Snapshot) -> Option<Bytes> {
        let (names, shape, rows_max) =
            (self.wanted.views.clone(), self.wanted.shape, self.wanted.rows_max);
        let encode = move || -> Result<Bytes, ViewError> {
            let mut data = Vec::new();
            for name in &names {
                if shape == Shape::Many {
                    data.extend(if data.is_empty() { b"{" } else { b"," });
                    data.extend(Value::from(name.as_str()).to_string().bytes());
                    data.push(b':');
                }
                write_snapshot(&snapshot, name, rows_max, &mut data)?;
            }
            if shape == Shape::Many {
                data.extend(if data.is_empty() { b"{}".as_slice() } else { b"}".as_slice() });
            }
            Ok(event("snapshot", snapshot.time, &data))
        };
        match tokio::task::spawn_blocking(encode).await {
            Ok(Ok(event)) => Some(event),
            Ok(Err(error)) => {
                tracing::error!(%error, "a snapshot could not be sent");
                None
            }
            Err(error) => {
                tracing::error!(%error, "a snapshot could not be encoded");
                None
            }
        }
    }
}

fn feeds(views: &Arc<Views>, names: &[String], after: Time) -> Result<Vec<Feed>, ViewError> {
    let feed = |name: &String| {
        let subscription = views.resume(name, after)?;
        Ok(Feed { subscription, ahead: None })
    };
    names.iter().map(feed).collect()
}

impl Feed {
    /// Takes the view's changes up to `due`; they are there, for the views have reached it.
    fn gather(&mut self, due: Time) -> Result<Gathered, ViewError> {
        let mut updates: Vec<Arc<Update>> = Vec::new();
        loop {
            let update = match self.ahead.take() {
                Some(update) => update,
                None => match self.subscription.next().now_or_never() {
                    None | Some(Ok(None)) => break,
                    Some(Ok(Some(Event::Changes(update)))) => update,
                    Some(Ok(Some(Event::Snapshot(snapshot)))) => {
                        return Ok(Gathered::Lost(snapshot));
                    }
                    // The next event is the snapshot.
                    Some(Err(ViewError::CutOff { .. })) => continue,
                    Some(Err(error)) => return Err(error),
                },
            };
            if update.time > due {
                self.ahead = Some(update);
                break;
            }
            updates.push(update);
        }
        if updates.len() <= 1 {
            return Ok(updates.pop().map_or(Gathered::Nothing, Gathered::One));
        }
        let batches: Vec<ChangeBatch> =
            updates.iter().map(|update| update.changes.clone()).collect();
        let sum = consolidate(&self.subscription.info().schema, &batches)?;
        Ok(Gathered::Changes(sum))
    }
}

/// The changes of an update as a JSON array, without encoding them again.
fn shared_changes(update: &Update) -> Bytes {
    let json = update.json();
    let lead = format!("{{\"time\":{},\"changes\":", update.time).len();
    let changes = json.slice(lead..json.len() - 1);
    assert!(
        changes.starts_with(b"[") && changes.ends_with(b"]"),
        "an update's JSON ends with its changes"
    );
    changes
}

fn write_snapshot(
    snapshot: &Snapshot,
    view: &str,
    rows_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), ViewError> {
    let row_count = snapshot.row_count(view)?;
    let truncated = row_count > rows_max as u64;
    let lead = format!(
        "{{\"time\":{},\"row_count\":{row_count},\"truncated\":{truncated},\"rows\":",
        snapshot.time
    );
    out.extend(lead.bytes());
    if truncated {
        let rows = snapshot.first_rows(view, rows_max)?;
        out.extend(json::to_array(&rows));
    } else {
        out.extend(snapshot.json(view)?);
    }
    out.push(b'}');
    Ok(())
}

fn event(name: &str, time: Time, data: &[u8]) -> Bytes {
    assert!(!data.contains(&b'\n'), "our JSON has no line breaks");
    let mut event = format!("event: {name}\nid: {time}\ndata: ").into_bytes();
    event.extend(data);
    event.extend(b"\n\n");
    event.into()
}
