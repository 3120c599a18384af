//! From a commit in PostgreSQL to what readers see, at 1,000 rows/s.
//!
//! A writer commits a hundred times a second, ten rows each. One reader asks the running process for the newest row of
//! the view, over and over; another searches for the oldest batch that it has not found yet. A batch's latency is the
//! time from its commit's answer until a reader first sees it, so it holds the reader's own round trip.

use std::collections::VecDeque;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serve::client::Client;
use servers::{Postgres, PostgresOptions, Process};
use tokio::sync::mpsc;
use tokio_postgres::NoTls;

use crate::figure::Figure;
use crate::{Outcome, Size, program};

const COMMITS_PER_SECOND: u32 = 100;
const ROWS_PER_COMMIT: i64 = 10;

/// A batch that was committed.
type Committed = (i64, Instant);

/// Measures both readers.
pub(crate) fn run(size: Size) -> Outcome {
    let evert = program::evert()?;
    let postgres = Postgres::start(PostgresOptions::durable())?;
    postgres.psql("create table events (id bigint primary key, batch bigint, words text)")?;
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let script = directory.path().join("latency.sql");
    fs::write(&script, statements(&postgres))?;
    let mut command = Command::new(evert);
    command.args(["run", "--data"]).arg(&data).arg(&script).stdout(Stdio::null());
    let _process = Process::start(&mut command)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let seconds = size.of(30, 5);
    let (mut view, mut search) = runtime.block_on(measure(&postgres, &data, seconds))?;
    Ok([("view", &mut view), ("search", &mut search)]
        .into_iter()
        .flat_map(|(name, latencies)| {
            latencies.sort_by(f64::total_cmp);
            let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
            [
                Figure::alone(format!("latency-{name}-p50"), at(50), "ms"),
                Figure::alone(format!("latency-{name}-p99"), at(99), "ms"),
            ]
        })
        .collect())
}

fn statements(postgres: &Postgres) -> String {
    format!(
        "create source bench from '{}' (tables = 'events');\n\
         create view newest as select count(*) as n, max(batch) as batch from events;\n\
         create view found as select id, batch, words from events;\n\
         create sink found_search from found into 'search';\n",
        postgres.url("postgres")
    )
}

async fn measure(
    postgres: &Postgres,
    data: &Path,
    seconds: u32,
) -> Result<(Vec<f64>, Vec<f64>), Box<dyn Error>> {
    let client = Client::new(&data.join("evert.sock"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while client.query("select n from newest", None).await.is_err() {
        if Instant::now() > deadline {
            return Err("evert did not start to answer".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (to_view, from_writer) = mpsc::unbounded_channel();
    let (to_search, from_writer_too) = mpsc::unbounded_channel();
    let socket: Arc<PathBuf> = Arc::new(data.join("evert.sock"));
    let view = tokio::spawn(watch_view(Client::new(&socket), from_writer));
    let search = tokio::spawn(watch_search(Client::new(&socket), from_writer_too));
    write(&postgres.url("postgres"), seconds, &[to_view, to_search]).await?;
    Ok((view.await?, search.await?))
}

/// Commits at a steady rate, and tells the readers when each commit was answered.
async fn write(
    url: &str,
    seconds: u32,
    readers: &[mpsc::UnboundedSender<Committed>],
) -> Result<(), Box<dyn Error>> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let insert = client
        .prepare(
            "insert into events select $1::bigint * 10 + i, $1, 'batch b' || $1 || ' row ' || i \
             from generate_series(0::bigint, $2::bigint - 1) i",
        )
        .await?;
    let mut pace = tokio::time::interval(Duration::from_secs(1) / COMMITS_PER_SECOND);
    for batch in 1..=i64::from(seconds * COMMITS_PER_SECOND) {
        pace.tick().await;
        client.execute(&insert, &[&batch, &ROWS_PER_COMMIT]).await?;
        let committed = Instant::now();
        for reader in readers {
            reader.send((batch, committed))?;
        }
    }
    Ok(())
}

/// Takes what was committed; returns false when nothing is outstanding and nothing will come.
async fn refill(
    waiting: &mut VecDeque<Committed>,
    committed: &mut mpsc::UnboundedReceiver<Committed>,
) -> bool {
    while let Ok(batch) = committed.try_recv() {
        waiting.push_back(batch);
    }
    if waiting.is_empty() {
        match committed.recv().await {
            Some(batch) => waiting.push_back(batch),
            None => return false,
        }
    }
    true
}

async fn watch_view(client: Client, mut committed: mpsc::UnboundedReceiver<Committed>) -> Vec<f64> {
    let (mut waiting, mut latencies) = (VecDeque::new(), Vec::new());
    while refill(&mut waiting, &mut committed).await {
        let Ok(answer) = client.query("select batch from newest", None).await else { continue };
        let seen = Instant::now();
        let newest = answer
            .batches
            .iter()
            .filter(|rows| rows.num_rows() > 0)
            .map(|rows| rows.column(0).as_primitive::<Int64Type>().value(0));
        let newest = newest.max().unwrap_or(0);
        while waiting.front().is_some_and(|&(batch, _)| batch <= newest) {
            let (_, at) = waiting.pop_front().expect("there is a first");
            latencies.push(seen.saturating_duration_since(at).as_secs_f64() * 1e3);
        }
    }
    latencies
}

async fn watch_search(
    client: Client,
    mut committed: mpsc::UnboundedReceiver<Committed>,
) -> Vec<f64> {
    let (mut waiting, mut latencies) = (VecDeque::new(), Vec::new());
    while refill(&mut waiting, &mut committed).await {
        let Some(&(batch, at)) = waiting.front() else { continue };
        match client.search("found", &format!("b{batch}"), 1).await {
            Ok(found) if !found.hits.is_empty() => {
                latencies.push(at.elapsed().as_secs_f64() * 1e3);
                waiting.pop_front();
            }
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    latencies
}
