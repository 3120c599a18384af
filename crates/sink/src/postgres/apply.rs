//! How a step's rows reach the table: few by prepared statements in one flight, many by COPY through staging tables.

use std::collections::BTreeMap;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use change::ChangeBatch;
use futures::future::try_join_all;
use futures::{SinkExt, TryFutureExt};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, CopyInSink, Statement};

use super::encode::Encoder;
use super::session::failed;
use super::split::Split;
use super::target::Target;
use crate::SinkError;

/// Up to so many rows go by prepared statements: for fewer, COPY's own round trips cost more.
const FEW_ROWS_MAX: usize = 200;

/// The bytes in which COPY data is sent.
const COPY_CHUNK_BYTES: usize = 256 << 10;

/// The statements in flight at once.
const FLIGHT_MAX: usize = 256;

const STAGE_GONE: &str = "pg_temp.evert_stage_gone";
const STAGE_ROWS: &str = "pg_temp.evert_stage_rows";

/// The rows of a step.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// The difference.
    pub(super) changes: &'a ChangeBatch,
    /// What happens to its keys.
    pub(super) split: &'a Split,
    /// Whether the table holds nothing yet.
    pub(super) is_empty: bool,
}

/// Why rows did not reach the table.
#[derive(Debug)]
pub(super) enum ApplyError {
    /// A row that should be new has a key that is there already.
    DuplicateKey(String),
    /// Anything else.
    Sink(SinkError),
}

impl From<SinkError> for ApplyError {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// The statements that a session has prepared.
pub(super) struct Statements {
    upsert: Statement,
    insert: Statement,
    /// By which columns of the key are NULL.
    delete: BTreeMap<Vec<bool>, Statement>,
}

impl Statements {
    /// Prepares what every session needs.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn prepare(client: &Client, target: &Target) -> Result<Self, SinkError> {
        let types = target.wire_types(&target.all());
        let (upsert, insert) = (target.upsert(&target.values()), target.insert(&target.values()));
        let upsert = client.prepare_typed(&upsert, &types);
        let insert = client.prepare_typed(&insert, &types);
        let (upsert, insert) = futures::future::try_join(upsert, insert)
            .await
            .map_err(|error| failed(&target.shown, &error))?;
        Ok(Self { upsert, insert, delete: BTreeMap::new() })
    }

    /// Deletes and upserts, within the caller's transaction. With `strictly`, a key that should be new must be.
    ///
    /// # Errors
    /// When the server refuses, or the connection breaks: then the transaction is void.
    pub(super) async fn apply(
        &mut self,
        client: &Client,
        target: &Target,
        rows: Rows<'_>,
        strictly: bool,
    ) -> Result<(), ApplyError> {
        let encoders = target
            .columns
            .iter()
            .zip(rows.changes.rows().columns())
            .map(|(column, array)| Encoder::new(column, array))
            .collect::<Result<Vec<_>, SinkError>>()?;
        let session = Session { client, target, encoders: &encoders };
        let Split { gone, gone_null, fresh, changed, .. } = rows.split;
        self.delete_each(session, gone_null).await?;
        if rows.split.len() <= FEW_ROWS_MAX {
            self.delete_each(session, gone).await?;
            let all = target.all();
            session.each(&self.upsert, &all, changed).await?;
            let add = if strictly { &self.insert } else { &self.upsert };
            session.each(add, &all, fresh).await.map_err(|error| duplicate(error, strictly))?;
            return Ok(());
        }
        session.delete_many(gone).await?;
        session.upsert_many(changed, target.upsert(&target.staged(STAGE_ROWS))).await?;
        if rows.is_empty && target.is_exact() {
            // Nothing can be in the way: straight into the table.
            let into = format!("{} ({})", target.table, target.names(&target.all()));
            session.copy(&into, &target.all(), fresh).await?;
        } else if strictly {
            let insert = target.insert(&target.staged(STAGE_ROWS));
            let inserted = session.upsert_many(fresh, insert).await;
            inserted.map_err(|error| duplicate(error, strictly))?;
        } else {
            session.upsert_many(fresh, target.upsert(&target.staged(STAGE_ROWS))).await?;
        }
        Ok(())
    }

    async fn delete_each(
        &mut self,
        session: Session<'_>,
        rows: &[usize],
    ) -> Result<(), StatementError> {
        let target = session.target;
        let mut by_nulls: BTreeMap<Vec<bool>, Vec<usize>> = BTreeMap::new();
        for &row in rows {
            let nulls = target.key.iter().map(|&column| session.encoders[column].is_null(row));
            by_nulls.entry(nulls.collect()).or_default().push(row);
        }
        for (nulls, rows) in by_nulls {
            let columns = target.key.iter().zip(&nulls).filter(|(_, is_null)| !**is_null);
            let columns: Vec<usize> = columns.map(|(&column, _)| column).collect();
            if !self.delete.contains_key(&nulls) {
                let sql = target.delete_one(&nulls);
                let types = target.wire_types(&columns);
                let statement = session.client.prepare_typed(&sql, &types).await;
                let statement = statement.map_err(|error| session.failed(error))?;
                self.delete.insert(nulls.clone(), statement);
            }
            session.each(&self.delete[&nulls], &columns, &rows).await?;
        }
        Ok(())
    }
}

/// A statement's failure, with the server's own error when there is one.
#[derive(Debug)]
struct StatementError {
    error: SinkError,
    duplicate: Option<String>,
}

impl From<SinkError> for StatementError {
    fn from(error: SinkError) -> Self {
        Self { error, duplicate: None }
    }
}

impl From<StatementError> for ApplyError {
    fn from(error: StatementError) -> Self {
        Self::Sink(error.error)
    }
}

fn duplicate(error: StatementError, strictly: bool) -> ApplyError {
    match error.duplicate {
        Some(key) if strictly => ApplyError::DuplicateKey(key),
        _ => ApplyError::Sink(error.error),
    }
}

/// What the leaves need.
#[derive(Clone, Copy)]
struct Session<'a> {
    client: &'a Client,
    target: &'a Target,
    encoders: &'a [Encoder],
}

impl Session<'_> {
    /// Executes a statement once a row, without waiting for one before sending the next.
    async fn each(
        self,
        statement: &Statement,
        columns: &[usize],
        rows: &[usize],
    ) -> Result<(), StatementError> {
        for flight in rows.chunks(FLIGHT_MAX) {
            let mut executions = Vec::with_capacity(flight.len());
            for &row in flight {
                let mut parameters = Vec::with_capacity(columns.len());
                for &column in columns {
                    parameters.push(self.parameter(column, row)?);
                }
                executions.push(self.client.execute_raw(statement, parameters));
            }
            try_join_all(executions).await.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn parameter(self, column: usize, row: usize) -> Result<Parameter, SinkError> {
        let encoder = &self.encoders[column];
        if encoder.is_null(row) {
            return Ok(Parameter(None));
        }
        let mut field = BytesMut::new();
        encoder.write_field(row, &mut field)?;
        // The statement's own message brings the length.
        Ok(Parameter(Some(field.freeze().slice(4..))))
    }

    async fn delete_many(self, rows: &[usize]) -> Result<(), StatementError> {
        if rows.is_empty() {
            return Ok(());
        }
        let key = &self.target.key;
        self.run(&self.target.create_stage(STAGE_GONE, key)).await?;
        self.copy(STAGE_GONE, key, rows).await?;
        self.run(&format!("analyze {STAGE_GONE}; {}", self.target.delete_staged(STAGE_GONE))).await
    }

    async fn upsert_many(self, rows: &[usize], sql: String) -> Result<(), StatementError> {
        if rows.is_empty() {
            return Ok(());
        }
        let all = self.target.all();
        let create = self.target.create_stage(STAGE_ROWS, &all);
        // The stage may hold what this transaction has staged before.
        self.run(&format!("{create}; truncate {STAGE_ROWS}")).await?;
        self.copy(STAGE_ROWS, &all, rows).await?;
        self.run(&sql).await
    }

    /// Sends rows by binary COPY.
    async fn copy(
        self,
        into: &str,
        columns: &[usize],
        rows: &[usize],
    ) -> Result<(), StatementError> {
        if rows.is_empty() {
            return Ok(());
        }
        let sql = format!("copy {into} from stdin (format binary)");
        let copy: CopyInSink<Bytes> =
            self.client.copy_in(&sql).await.map_err(|error| self.failed(error))?;
        let mut copy = pin!(copy);
        let count = i16::try_from(columns.len()).expect("a table has at most 1,664 columns");
        let mut chunk = BytesMut::with_capacity(COPY_CHUNK_BYTES * 2);
        chunk.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        for &row in rows {
            chunk.extend_from_slice(&count.to_be_bytes());
            for &column in columns {
                self.encoders[column].write_field(row, &mut chunk)?;
            }
            if chunk.len() >= COPY_CHUNK_BYTES {
                let full = chunk.split().freeze();
                copy.send(full).map_err(|error| self.failed(error)).await?;
            }
        }
        chunk.extend_from_slice(&(-1_i16).to_be_bytes());
        copy.send(chunk.freeze()).map_err(|error| self.failed(error)).await?;
        copy.finish().await.map_err(|error| self.failed(error))?;
        Ok(())
    }

    async fn run(self, sql: &str) -> Result<(), StatementError> {
        self.client.batch_execute(sql).await.map_err(|error| self.failed(error))
    }

    fn failed(self, error: tokio_postgres::Error) -> StatementError {
        let db = error.as_db_error().filter(|db| *db.code() == SqlState::UNIQUE_VIOLATION);
        let duplicate = db.map(|db| db.detail().unwrap_or_else(|| db.message()).to_owned());
        StatementError { error: failed(&self.target.shown, &error), duplicate }
    }
}

/// A value that is already in PostgreSQL's binary form.
#[derive(Debug)]
struct Parameter(Option<Bytes>);

impl ToSql for Parameter {
    fn to_sql(
        &self,
        _ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            Some(bytes) => {
                out.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
