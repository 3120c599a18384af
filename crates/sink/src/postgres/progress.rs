//! The table `evert_progress`: which Time each sink's table is exact at, moved in the transaction that moves the rows.

use change::Time;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::session::{failed, literal, quoted};
use crate::SinkError;

/// One sink's row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The log that the table was filled from.
    pub(super) log_id: String,
    /// The view that the table was filled from, and its definition.
    pub(super) view: String,
    /// The Time.
    pub(super) time: Time,
    /// How many rows the view had then: by this an emptied table is found out.
    pub(super) rows: u64,
}

/// Access to one sink's row.
#[derive(Debug)]
pub(super) struct Progress {
    table: String,
    shown: String,
    sink: String,
    insert: Statement,
    update: Statement,
}

impl Progress {
    /// Opens the table, creating it when it is missing.
    ///
    /// # Errors
    /// When the server refuses, for example for want of a privilege.
    pub(super) async fn open(
        client: &Client,
        schema: &str,
        sink: &str,
        shown: &str,
    ) -> Result<Self, SinkError> {
        let failed = |error| failed(shown, &error);
        let table = format!("{}.evert_progress", quoted(schema));
        // Two sessions that create the same table at the same time fail; so they queue.
        let create = format!(
            "begin; select pg_advisory_xact_lock(hashtextextended('evert_progress', 0));
             create table if not exists {table} (sink text primary key, log_id uuid not null, \
             view text not null, time bigint not null, rows bigint not null, \
             updated_at timestamptz not null default now()); commit"
        );
        let exists = "select to_regclass($1) is not null";
        let exists: bool = client.query_one(exists, &[&table]).await.map_err(failed)?.get(0);
        if !exists {
            client.batch_execute(&create).await.map_err(failed)?;
        }
        let insert = format!(
            "insert into {table} (sink, log_id, view, time, rows) values ($1, $2::text::uuid, $3, $4, $5)"
        );
        let insert = client.prepare(&insert).await.map_err(failed)?;
        let update = format!(
            "update {table} set time = $4, rows = $5, updated_at = now() \
             where sink = $1 and log_id = $2::text::uuid and time = $3"
        );
        let update = client.prepare(&update).await.map_err(failed)?;
        Ok(Self { table, shown: shown.to_owned(), sink: sink.to_owned(), insert, update })
    }

    /// Reads the sink's row.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn read(&self, client: &Client) -> Result<Option<Held>, SinkError> {
        let sql =
            format!("select log_id::text, view, time, rows from {} where sink = $1", self.table);
        let row = client.query_opt(&sql, &[&self.sink]).await;
        let row = row.map_err(|error| failed(&self.shown, &error))?;
        Ok(row.map(|row| Held {
            log_id: row.get(0),
            view: row.get(1),
            time: Time(unsigned(row.get(2))),
            rows: unsigned(row.get(3)),
        }))
    }

    /// Moves the sink's row from `before` to `next`, within the caller's transaction.
    ///
    /// # Errors
    /// When the row is no longer what we left there: then nothing is moved.
    pub(super) async fn advance(
        &self,
        client: &Client,
        before: Option<&Held>,
        next: &Held,
    ) -> Result<(), SinkError> {
        let (time, rows) = (signed(next.time.0), signed(next.rows));
        let moved = match before {
            None => {
                let row =
                    [&self.sink as &(dyn ToSql + Sync), &next.log_id, &next.view, &time, &rows];
                client.execute(&self.insert, &row).await
            }
            Some(before) => {
                let before = signed(before.time.0);
                let row = [&self.sink as &(dyn ToSql + Sync), &next.log_id, &before, &time, &rows];
                client.execute(&self.update, &row).await
            }
        };
        match moved {
            Ok(1) => Ok(()),
            Ok(_) => Err(self.moved()),
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Err(self.moved()),
            Err(error) => Err(failed(&self.shown, &error)),
        }
    }

    /// The statement that lets the sink begin anew.
    pub(super) fn forget(&self) -> String {
        format!("delete from {} where sink = {}", self.table, literal(&self.sink))
    }

    fn moved(&self) -> SinkError {
        SinkError::Moved { sink: self.sink.clone(), target: self.shown.clone() }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("fewer than 2^63 transactions and rows")
}

fn unsigned(number: i64) -> u64 {
    // Only somebody else could have written less than zero; it is then no Time of ours, and is refused as such.
    u64::try_from(number).unwrap_or(u64::MAX)
}
