//! Change capture from PostgreSQL into the durable log, beside PostgreSQL's own tools that throw the data away.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use servers::{Postgres, PostgresOptions};

use crate::figure::{Figure, median};
use crate::program::{self, Taken};
use crate::{Outcome, Size};

/// The table that is copied and changed: a dozen typical columns' worth of a hundred bytes.
const TABLE: &str = "create table items (id bigint primary key, customer int not null, amount \
                     numeric(12,2), status text, note text, at timestamptz not null)";

const ROWS: &str = "select i, (i % 100000)::int, (i % 10007) / 100.0, \
                    (array['new','paid','shipped','void'])[1 + i % 4], 'item number ' || i, \
                    '2026-01-01'::timestamptz + i * interval '1 second'";

fn server() -> Result<Postgres, Box<dyn Error>> {
    let mut options = PostgresOptions::durable();
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    options.settings.push(setting("max_wal_size", "16GB"));
    options.settings.push(setting("shared_buffers", "512MB"));
    options.settings.push(setting("logical_decoding_work_mem", "256MB"));
    Ok(Postgres::start(options)?)
}

fn script(postgres: &Postgres, directory: &Path) -> Result<std::path::PathBuf, Box<dyn Error>> {
    let path = directory.join("source.sql");
    let url = postgres.url("postgres");
    fs::write(&path, format!("create source bench from '{url}' (tables = 'items');\n"))?;
    Ok(path)
}

fn run_once(evert: &Path, data: &Path, script: &Path) -> Result<Taken, Box<dyn Error>> {
    program::measured(Command::new(evert).args(["run", "--once", "--data"]).arg(data).arg(script))
}

/// Streaming: the same changes, once to `pg_recvlogical -f /dev/null`, once into the log; in turn.
pub(crate) fn stream(size: Size) -> Outcome {
    let evert = program::evert()?;
    let postgres = server()?;
    postgres.psql(TABLE)?;
    let directory = tempfile::tempdir()?;
    let (data, script) = (directory.path().join("data"), script(&postgres, directory.path())?);
    // Makes slot and publication, and copies the empty table.
    run_once(&evert, &data, &script)?;
    postgres.psql("select pg_create_logical_replication_slot('peer', 'pgoutput')")?;
    let rows = size.of(1_000_000, 50_000);
    let (mut ours, mut peers, mut memory) = (Vec::new(), Vec::new(), 0);
    for round in 0..size.of(3, 1) {
        let changes = change_rows(&postgres, round * rows, rows)?;
        let peer = |postgres: &Postgres| receive(postgres);
        let own = || run_once(&evert, &data, &script);
        // Each begins every other round.
        let (own, peer) = if round % 2 == 0 {
            let peer = peer(&postgres)?;
            (own()?, peer)
        } else {
            let own = own()?;
            (own, peer(&postgres)?)
        };
        memory = memory.max(own.memory_bytes_max);
        ours.push(changes as f64 / own.time.as_secs_f64());
        peers.push(changes as f64 / peer.as_secs_f64());
    }
    Ok(vec![
        Figure::alone("cdc-stream", median(ours), "rows/s")
            .beside("pg_recvlogical -f /dev/null", median(peers)),
        Figure::alone("cdc-stream-memory", memory as f64 / 1e6, "MB"),
    ])
}

/// Inserts rows in transactions of 1,000, updates half of them and deletes a tenth; returns the changed rows.
fn change_rows(postgres: &Postgres, from: usize, rows: usize) -> Result<usize, Box<dyn Error>> {
    let last = from + rows - 1;
    let procedure = format!(
        "do $$ begin for low in 0..{} loop \
           insert into items {ROWS} from generate_series({from} + low * 1000, \
             least({from} + low * 1000 + 999, {last})) i; commit; end loop; end $$",
        rows.div_ceil(1000) - 1
    );
    postgres.psql(&procedure)?;
    let range = format!("id between {from} and {last}");
    postgres.psql(&format!("update items set status = 'paid' where {range} and id % 2 = 0"))?;
    postgres.psql(&format!("delete from items where {range} and id % 10 = 1"))?;
    Ok(rows + rows / 2 + rows / 10)
}

/// Receives everything up to now with PostgreSQL's own tool.
fn receive(postgres: &Postgres) -> Result<Duration, Box<dyn Error>> {
    let end = postgres.psql("select pg_current_wal_flush_lsn()")?;
    let since = Instant::now();
    let mut command = Command::new(postgres.program("pg_recvlogical"));
    command
        .args(["--dbname", &postgres.url("postgres"), "--slot", "peer", "--start"])
        .args(["--file", "/dev/null", "--endpos", end.trim(), "--no-loop"])
        .args(["--option", "proto_version=1", "--option", "publication_names=evert_bench"]);
    program::measured(&mut command)?;
    Ok(since.elapsed())
}

/// Backfill: the same table, once by COPY into nothing, once into the log.
pub(crate) fn backfill(size: Size) -> Outcome {
    let evert = program::evert()?;
    let postgres = server()?;
    postgres.psql(TABLE)?;
    let rows = size.of(10_000_000, 200_000);
    postgres.psql(&format!("insert into items {ROWS} from generate_series(1, {rows}) i"))?;
    postgres.psql("vacuum analyze items")?;
    let (mut ours, mut peers, mut memory) = (Vec::new(), Vec::new(), 0);
    for _ in 0..size.of(3, 1) {
        let directory = tempfile::tempdir()?;
        let (data, script) = (directory.path().join("data"), script(&postgres, directory.path())?);
        let since = Instant::now();
        let mut copy = Command::new(postgres.program("psql"));
        copy.args([&postgres.url("postgres"), "-c", "copy items to stdout"]);
        program::measured(&mut copy)?;
        peers.push(f64::from(rows) / since.elapsed().as_secs_f64());
        let own = run_once(&evert, &data, &script)?;
        ours.push(f64::from(rows) / own.time.as_secs_f64());
        memory = memory.max(own.memory_bytes_max);
        let drop = Command::new(&evert).args(["drop", "bench", "--data"]).arg(&data).status()?;
        if !drop.success() {
            return Err("`evert drop` failed".into());
        }
    }
    Ok(vec![
        Figure::alone("cdc-backfill", median(ours), "rows/s")
            .beside("COPY … TO STDOUT into /dev/null", median(peers)),
        Figure::alone("cdc-backfill-memory", memory as f64 / 1e6, "MB"),
    ])
}
