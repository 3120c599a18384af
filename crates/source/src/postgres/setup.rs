//! What a source has in its server: publications and a slot. And what it notes of them in the log.
//!
//! The note is written before the slot is made, so that an interrupted backfill knows its own slot and may drop it;
//! a slot that is not noted belongs to somebody else and is never touched.

use std::time::Duration;

use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::address::Address;
use super::backfill::parse_lsn;
use super::catalog::Found;
use super::refusals::{RENEW, code, refused};
use super::session::{Session, SessionError};
use super::settings::Settings;
use crate::SourceError;

/// How long to wait for a slot that the session of a killed process may still hold.
const SLOT_WAIT_MAX: Duration = Duration::from_secs(75);
const SLOT_POLL: Duration = Duration::from_millis(200);

/// What a source notes of itself in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The server's own id, which no other has.
    pub(crate) system: String,
    /// The server's history: another one after a promotion or a recovery to an earlier time.
    pub(crate) timeline: String,
    /// The database.
    pub(crate) database: String,
    /// The slot.
    pub(crate) slot: String,
    /// The publications.
    pub(crate) publications: Vec<String>,
    /// Those of them that are ours to drop.
    pub(crate) own_publications: Vec<String>,
    /// Whether the backfill is in the log.
    pub(crate) complete: bool,
}

/// Which server it is: system id, timeline and the position of its log now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct System {
    pub(crate) id: String,
    pub(crate) timeline: String,
}

impl System {
    /// Asks the server who it is.
    pub(crate) async fn identify(session: &mut Session) -> Result<Self, SessionError> {
        let rows = session.query("IDENTIFY_SYSTEM").await?;
        let mut row = rows.into_iter().next().unwrap_or_default().into_iter();
        let mut next = || row.next().flatten().unwrap_or_default();
        Ok(Self { id: next(), timeline: next() })
    }
}

impl State {
    /// Reads what an earlier run noted.
    pub(crate) fn parse(text: &str) -> Result<Self, SourceError> {
        serde_json::from_str(text).map_err(|error| SourceError::CannotResume {
            input: "the source".to_owned(),
            reason: format!("its state in the log is not readable: {error}"),
            help: "the log was written by a later version of Evert; run that one".to_owned(),
        })
    }

    /// Writes it for the log.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and a flag always serialize")
    }

    /// Refuses another server than the one that was followed.
    pub(crate) fn check(&self, system: &System, address: &Address) -> Result<(), SourceError> {
        let shown = |id: &str, timeline: &str, database: &str| {
            format!("system {id}, timeline {timeline}, database {database}")
        };
        let expected = shown(&self.system, &self.timeline, &self.database);
        let found = shown(&system.id, &system.timeline, &address.database);
        if expected == found { Ok(()) } else { Err(SourceError::OtherSystem { expected, found }) }
    }
}

/// Creates the publications that are missing; returns all, and those that are ours.
pub(crate) async fn publish(
    session: &mut Session,
    address: &Address,
    settings: &Settings,
    tables: &[Found],
) -> Result<(Vec<String>, Vec<String>), SourceError> {
    let (name, inserts_name) = settings.publications();
    let (whole, inserts): (Vec<&Found>, Vec<&Found>) =
        tables.iter().partition(|table| table.has_identity);
    if settings.publication.is_some()
        && exists(session, &name).await.map_err(|e| address.explain(e))?
    {
        check_published(session, address, std::slice::from_ref(&name), tables).await?;
        return Ok((vec![name], Vec::new()));
    }
    let mut names = Vec::new();
    if !whole.is_empty() {
        create(session, &name, &whole, "").await.map_err(|error| address.explain(error))?;
        names.push(name);
    }
    if !inserts.is_empty() {
        for table in &inserts {
            let table = table.target.schema.name();
            tracing::warn!(
                table = %table,
                "it has no primary key, so only inserts are followed: updates and deletes will not be \
                 seen; ALTER TABLE … REPLICA IDENTITY FULL before the first run makes them visible"
            );
        }
        let publish = "publish = 'insert, truncate', ";
        create(session, &inserts_name, &inserts, publish)
            .await
            .map_err(|error| address.explain(error))?;
        names.push(inserts_name);
    }
    Ok((names.clone(), names))
}

async fn exists(session: &mut Session, publication: &str) -> Result<bool, SessionError> {
    let name = escape_literal(publication);
    let sql = format!("select 1 from pg_publication where pubname = {name}");
    Ok(session.query_value(&sql).await?.is_some())
}

/// Makes a publication of ours anew; one of an earlier, unfinished run goes.
async fn create(
    session: &mut Session,
    name: &str,
    tables: &[&Found],
    options: &str,
) -> Result<(), SessionError> {
    let name = escape_identifier(name);
    let tables: Vec<_> = tables.iter().map(|table| table.sql_published()).collect();
    session.query(&format!("drop publication if exists {name}")).await?;
    let sql = format!(
        "create publication {name} for table {} with ({options}publish_via_partition_root = true)",
        tables.join(", ")
    );
    session.query(&sql).await.map(drop)
}

/// Refuses when a publication is gone, or does not publish a table.
pub(crate) async fn check_published(
    session: &mut Session,
    address: &Address,
    publications: &[String],
    tables: &[Found],
) -> Result<(), SourceError> {
    for name in publications {
        if !exists(session, name).await.map_err(|error| address.explain(error))? {
            let what = format!("publication {name} is gone, so changes may have been missed");
            return Err(refused(code::PUBLICATION, what, RENEW.to_owned()));
        }
    }
    let names: Vec<_> = publications.iter().map(|name| escape_literal(name)).collect();
    let sql = format!(
        "select schemaname || '.' || tablename from pg_publication_tables where pubname in ({})",
        names.join(", ")
    );
    let rows = session.query(&sql).await.map_err(|error| address.explain(error))?;
    let published: Vec<String> = rows.into_iter().flatten().flatten().collect();
    for table in tables {
        let shown = format!("{}.{}", table.target.namespace, table.target.name);
        if !published.contains(&shown) {
            let name = publications.first().map_or("", String::as_str);
            let what = format!("publication {name} does not publish table {shown}");
            let help = format!(
                "before the first run: ALTER PUBLICATION {name} ADD TABLE {}, and for a partitioned \
                 table: ALTER PUBLICATION {name} SET (publish_via_partition_root = true)",
                table.sql_name()
            );
            return Err(refused(code::PUBLICATION, what, help));
        }
    }
    Ok(())
}

/// What the server says of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The session that uses it now.
    pub(crate) active_process: Option<String>,
    /// `lost` when the server removed WAL that it needed.
    pub(crate) wal_status: String,
    /// The database that it decodes.
    pub(crate) database: String,
}

/// Looks for a slot.
pub(crate) async fn find_slot(
    session: &mut Session,
    name: &str,
) -> Result<Option<Slot>, SessionError> {
    let name = escape_literal(name);
    let sql = format!(
        "select active_pid, wal_status, database from pg_replication_slots where slot_name = {name}"
    );
    Ok(session.query(&sql).await?.into_iter().next().map(|row| {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten();
        Slot {
            active_process: next(),
            wal_status: next().unwrap_or_default(),
            database: next().unwrap_or_default(),
        }
    }))
}

/// Up to where a slot was told that everything is durable.
pub(crate) async fn confirmed(
    session: &mut Session,
    slot: &str,
) -> Result<Option<u64>, SessionError> {
    let name = escape_literal(slot);
    let sql =
        format!("select confirmed_flush_lsn from pg_replication_slots where slot_name = {name}");
    Ok(session.query_value(&sql).await?.as_deref().and_then(parse_lsn))
}

/// Waits until nobody uses a slot: the session of a process that was killed may linger. False: there is no such slot.
pub(crate) async fn free_slot(
    session: &mut Session,
    address: &Address,
    name: &str,
) -> Result<bool, SourceError> {
    let deadline = Instant::now() + SLOT_WAIT_MAX;
    loop {
        let slot = find_slot(session, name).await.map_err(|error| address.explain(error))?;
        let Some(Slot { active_process: Some(process), .. }) = slot else {
            return Ok(slot.is_some());
        };
        if Instant::now() >= deadline {
            let what = format!("replication slot {name} is in use by session {process}");
            let help = format!(
                "end the other process, or its session with SELECT pg_terminate_backend({process}); \
                 two sources need two names"
            );
            return Err(refused(code::SLOT_ACTIVE, what, help));
        }
        tokio::time::sleep(SLOT_POLL).await;
    }
}

/// Drops a slot, if it is there.
pub(crate) async fn drop_slot(
    session: &mut Session,
    address: &Address,
    name: &str,
) -> Result<(), SourceError> {
    if free_slot(session, address, name).await? {
        let sql = format!("select pg_drop_replication_slot({})", escape_literal(name));
        session.query(&sql).await.map_err(|error| address.explain(error))?;
    }
    Ok(())
}

/// Drops a publication, if it is there.
pub(crate) async fn drop_publication(
    session: &mut Session,
    name: &str,
) -> Result<(), SessionError> {
    let sql = format!("drop publication if exists {}", escape_identifier(name));
    session.query(&sql).await.map(drop)
}
