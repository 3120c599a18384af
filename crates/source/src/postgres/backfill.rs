//! The first copy of all tables, at the exact position where the stream begins.
//!
//! The slot's creation exports a snapshot to our own transaction: what the copy shows and what the stream sends meet
//! without a gap or an overlap. All tables are one transaction of the log, which becomes visible when all of it is
//! there; an interrupted backfill is void, and begins anew with a new slot.

use std::sync::Arc;

use change::catalog::{CatalogChange, Kind as Row, catalog_changes};
use change::{Part, SourcePosition, TableSchema, TransactionGroup, TransactionHead};
use postgres_protocol::escape::escape_identifier;

use super::address::Address;
use super::catalog::Discovered;
use super::decode::CopyDecoder;
use super::delivery::{Delivery, Halt, Way};
use super::gather::Gather;
use super::refusals::{code, refused};
use super::session::{Message, Session, SessionError, refusal};
use super::settings::Settings;
use super::setup::{State, System, drop_slot, find_slot, publish};
use crate::{Phase, SourceError};

/// How many received rows are counted at once for those who watch.
const ROWS_BETWEEN_COUNTS: u64 = 4_096;

/// A backfill of one source.
pub(crate) struct Backfill<'a> {
    pub(crate) source: &'a str,
    pub(crate) address: &'a Address,
    pub(crate) settings: &'a Settings,
    pub(crate) discovered: &'a Discovered,
    pub(crate) system: System,
    /// What an earlier run that did not finish has noted.
    pub(crate) noted: Option<State>,
}

impl Backfill<'_> {
    /// Copies everything; returns what was noted and the position where the stream begins.
    pub(crate) async fn run(
        &mut self,
        session: &mut Session,
        delivery: &mut Delivery,
    ) -> Result<(State, u64), Halt> {
        let explain = |error: SessionError| self.address.explain(error);
        self.check_slot(session).await?;
        let tables = &self.discovered.tables;
        let (publications, own_publications) =
            publish(session, self.address, self.settings, tables).await?;
        let mut state = State {
            system: self.system.id.clone(),
            timeline: self.system.timeline.clone(),
            database: self.address.database.clone(),
            slot: self.settings.slot.clone(),
            publications,
            own_publications,
            complete: false,
        };
        self.note(session, delivery, &state).await?;
        self.noted = Some(state.clone());
        drop_slot(session, self.address, &state.slot).await?;
        let waiting = "transactions that are open in the server must end first".to_owned();
        delivery.run.progress.set_phase(Phase::Waiting(waiting));
        let position = create_slot(session, &state.slot).await.map_err(explain)?;
        let mut gather = Gather::new(self.source.into(), &self.schemas());
        gather.begin(TransactionHead::at(SourcePosition::Lsn(position), None));
        for table in 0..tables.len() {
            self.copy(session, delivery, &mut gather, table).await?;
        }
        session.query("commit").await.map_err(explain)?;
        state.complete = true;
        gather.close_with(catalog_changes(&self.rows(&state)));
        gather.commit(SourcePosition::Lsn(position));
        deliver(session, self.address, delivery, &mut gather).await?;
        Ok((state, position))
    }

    fn schemas(&self) -> Vec<Arc<TableSchema>> {
        let tables = self.discovered.tables.iter();
        tables.map(|table| Arc::clone(&table.target.schema)).collect()
    }

    /// Refuses a slot that is not ours.
    async fn check_slot(&self, session: &mut Session) -> Result<(), SourceError> {
        let slot = &self.settings.slot;
        let is_ours = self.noted.as_ref().is_some_and(|noted| noted.slot == *slot);
        let found = find_slot(session, slot).await.map_err(|error| self.address.explain(error))?;
        if found.is_none() || is_ours {
            return Ok(());
        }
        let what = format!(
            "replication slot {slot} exists already, though this data directory has not made it"
        );
        let help = format!(
            "another data directory may follow this database by the same source name: run that one, or \
             choose another name or the option slot = '…'; if nobody needs it: \
             SELECT pg_drop_replication_slot('{slot}')"
        );
        Err(refused(code::SLOT_EXISTS, what, help))
    }

    /// Notes durably that the slot is going to be ours.
    async fn note(
        &self,
        session: &mut Session,
        delivery: &mut Delivery,
        state: &State,
    ) -> Result<(), Halt> {
        if self.noted.as_ref() == Some(state) {
            return Ok(());
        }
        let changes = catalog_changes(&[self.state_row(state)]);
        let heads = vec![TransactionHead::own()];
        let group = TransactionGroup::new(self.source.into(), Part::Whole, heads, vec![changes]);
        delivery.submit(session, self.address, group, Way::Copy).await?;
        delivery.all_durable().await
    }

    fn state_row(&self, state: &State) -> CatalogChange {
        let (name, definition) = (self.source.to_owned(), Some(state.to_json()));
        CatalogChange { kind: Row::SourceState, name, definition }
    }

    fn rows(&self, state: &State) -> Vec<CatalogChange> {
        let table = |schema: &TableSchema| CatalogChange {
            kind: Row::Table,
            name: schema.name().to_string(),
            definition: Some(schema.to_json()),
        };
        let tables = self.discovered.tables.iter().map(|found| table(&found.target.schema));
        std::iter::once(self.state_row(state)).chain(tables).collect()
    }

    async fn copy(
        &self,
        session: &mut Session,
        delivery: &mut Delivery,
        gather: &mut Gather,
        at: usize,
    ) -> Result<(), Halt> {
        let explain = |error: SessionError| self.address.explain(error);
        let table = &self.discovered.tables[at];
        delivery.run.progress.set_phase(Phase::Backfill {
            table: table.target.schema.name().table.to_string(),
            rows: 0,
            rows_estimate: table.rows_estimate,
        });
        session.begin_copy(&table.sql_copy()).await.map_err(explain)?;
        let mut decoder = CopyDecoder::new(&table.target, at);
        let mut uncounted = 0;
        let mut run = delivery.run.clone();
        let progress = Arc::clone(&run.progress);
        loop {
            while let Some(Message { tag, body }) = session.received().map_err(explain)? {
                match tag {
                    b'd' => {
                        uncounted += decoder.feed(gather, body)?;
                        if uncounted >= ROWS_BETWEEN_COUNTS {
                            progress.add_backfill_rows(std::mem::take(&mut uncounted));
                        }
                    }
                    b'c' => {
                        progress.add_backfill_rows(uncounted);
                        decoder.finish()?;
                        return Ok(session.end_copy().await.map_err(explain)?);
                    }
                    b'E' => {
                        let refusal = refusal(body).map_err(explain)?;
                        return Err(explain(SessionError::Refused(refusal)).into());
                    }
                    _ => {}
                }
                if gather.must_cut() {
                    deliver(session, self.address, delivery, gather).await?;
                }
            }
            tokio::select! {
                biased;
                () = run.stopped() => return Err(Halt::Stopped),
                filled = session.fill() => filled.map_err(explain)?,
            }
        }
    }
}

async fn deliver(
    session: &mut Session,
    address: &Address,
    delivery: &mut Delivery,
    gather: &mut Gather,
) -> Result<(), Halt> {
    for group in gather.cut() {
        delivery.submit(session, address, group, Way::Copy).await?;
    }
    delivery.run.progress.add_dead_letters(gather.take_dead_letter_count());
    Ok(())
}

/// Creates the slot in a transaction that sees exactly what the slot's stream does not send.
async fn create_slot(session: &mut Session, name: &str) -> Result<u64, SessionError> {
    session.query("begin read only isolation level repeatable read").await?;
    let name = escape_identifier(name);
    let sql = format!("CREATE_REPLICATION_SLOT {name} LOGICAL pgoutput USE_SNAPSHOT");
    let rows = session.query(&sql).await?;
    let position = rows.first().and_then(|row| row.get(1)).and_then(Option::as_deref);
    position.and_then(parse_lsn).ok_or(SessionError::Malformed("a slot without a position"))
}

/// Reads an LSN as PostgreSQL writes it.
pub(crate) fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let (high, low) = (u32::from_str_radix(high, 16).ok()?, u32::from_str_radix(low, 16).ok()?);
    Some(u64::from(high) << 32 | u64::from(low))
}
