//! Following the changes: read, decode, hand over, acknowledge.
//!
//! Invariant: what is acknowledged to the server is durable in the log, or lies in a stretch of the server's history
//! in which nothing concerned us and behind which nothing is under way.
//!
//! Transactions gather while the log syncs those before, and then travel together: a quiet source is handed over at
//! once, a busy one in large groups.

use std::sync::Arc;
use std::time::Duration;

use change::SourcePosition;
use postgres_protocol::escape::escape_identifier;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::address::Address;
use super::decode::{Decoder, Fed};
use super::delivery::{Delivery, Halt, STATUS_INTERVAL, Status, Way};
use super::session::{Message, Session, SessionError, refusal};
use super::setup::State;
use super::wire::{Malformed, Reader};
use crate::{Phase, RunOptions, SourceError};

/// Groups that may be under way while another one is handed over for its size alone.
const GROUPS_AHEAD: usize = 2;
/// The size, in rows, for which it is.
const ROWS_AHEAD: usize = 8_192;
/// How often a run that is to end at a position asks where the server is, when nothing else is heard.
const ASK_INTERVAL: Duration = Duration::from_millis(50);
/// How often progress is acknowledged while more is under way.
const ACKNOWLEDGE_INTERVAL: Duration = Duration::from_millis(100);
/// How long the server may hold the slot for a session that has ended.
const SLOT_WAIT_MAX: Duration = Duration::from_secs(75);
const SLOT_POLL: Duration = Duration::from_millis(200);

/// A stream of changes.
pub(crate) struct Stream<'a> {
    pub(crate) session: Session,
    pub(crate) address: &'a Address,
    pub(crate) decoder: Decoder,
    pub(crate) delivery: &'a mut Delivery,
    /// Where a run with `once` ends.
    pub(crate) goal: Option<u64>,
    tide: Tide,
    acknowledged_at: Instant,
}

/// How far the server is, and how much of it has arrived.
#[derive(Clone, Copy, Debug, Default)]
struct Tide {
    /// Everything up to here was received.
    received: u64,
    /// The last that is known of the server's own position.
    server: u64,
    /// Whether the server wants to hear from us now.
    reply_wanted: bool,
}

impl<'a> Stream<'a> {
    /// Begins the stream at the position behind what was submitted.
    pub(crate) async fn start(
        mut session: Session,
        address: &'a Address,
        state: &State,
        decoder: Decoder,
        delivery: &'a mut Delivery,
    ) -> Result<Self, Halt> {
        let names: Vec<_> = state.publications.iter().map(|name| escape_identifier(name)).collect();
        let names = names.join(",").replace('\'', "''");
        let slot = escape_identifier(&state.slot);
        let position = SourcePosition::Lsn(delivery.submitted);
        let binary = if decoder.needs_text() { "" } else { ", binary 'true'" };
        let sql = format!(
            "START_REPLICATION SLOT {slot} LOGICAL {position} \
             (proto_version '1', publication_names '{names}'{binary})"
        );
        let deadline = Instant::now() + SLOT_WAIT_MAX;
        loop {
            match session.begin_copy(&sql).await {
                Ok(()) => break,
                // Another session holds the slot; it may be that of a process that was killed.
                Err(SessionError::Refused(refusal))
                    if refusal.state == "55006" && Instant::now() < deadline =>
                {
                    let mut run = delivery.run.clone();
                    run.progress.set_phase(Phase::Waiting(refusal.message));
                    tokio::select! {
                        () = tokio::time::sleep(SLOT_POLL) => {}
                        () = run.stopped() => return Err(Halt::Stopped),
                    }
                }
                Err(error) => return Err(address.explain(error).into()),
            }
        }
        let tide = Tide::default();
        let acknowledged_at = Instant::now();
        delivery.run.progress.set_phase(Phase::Streaming);
        Ok(Self { session, address, decoder, delivery, goal: None, tide, acknowledged_at })
    }

    /// Follows until the goal is durable.
    pub(crate) async fn follow(&mut self) -> Result<(), Halt> {
        let mut run = self.delivery.run.clone();
        let mut status = interval(STATUS_INTERVAL);
        let mut ask = interval(ASK_INTERVAL);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.take_in(&run).await?;
            if self.goal.is_some_and(|goal| self.safe() >= goal) {
                return self.acknowledge(false).await;
            }
            if self.tide.reply_wanted {
                self.acknowledge(false).await?;
            }
            let is_asking = self.goal.is_some() && self.delivery.under_way() == 0;
            tokio::select! {
                filled = self.session.fill() => filled.map_err(|error| self.address.explain(error))?,
                done = self.delivery.oldest_durable() => {
                    done?;
                    self.acknowledge_soon().await?;
                }
                _ = status.tick() => self.acknowledge(false).await?,
                _ = ask.tick(), if is_asking => self.acknowledge(true).await?,
                () = run.stopped() => {
                    self.delivery.note_durable()?;
                    self.acknowledge(false).await?;
                    return Err(Halt::Stopped);
                }
            }
        }
    }

    /// Ends the session, so that the slot is free at once.
    pub(crate) async fn close(self) {
        self.session.close().await;
    }

    /// Decodes what was received and hands over what the log has room for.
    async fn take_in(&mut self, run: &RunOptions) -> Result<(), Halt> {
        loop {
            let fed = match self.session.received().map_err(|error| self.address.explain(error))? {
                Some(message) => take(message, &mut self.decoder, &mut self.tide, self.address)?,
                None => break,
            };
            let gather = self.decoder.gather();
            if gather.must_cut() {
                self.hand_over().await?;
            } else if matches!(fed, Fed::Commit(_)) && gather.rows() >= ROWS_AHEAD {
                self.delivery.note_durable()?;
                if self.delivery.under_way() < GROUPS_AHEAD {
                    self.hand_over().await?;
                }
            }
        }
        self.delivery.note_durable()?;
        let gather = self.decoder.gather();
        let is_ready = gather.whole() > 0 && !gather.is_open();
        if is_ready && self.delivery.under_way() == 0 {
            self.hand_over().await?;
        }
        let behind = self.tide.server.saturating_sub(self.safe());
        run.progress.set_lag_bytes(Some(behind));
        Ok(())
    }

    async fn hand_over(&mut self) -> Result<(), Halt> {
        for group in self.decoder.gather().cut() {
            self.delivery.submit(&mut self.session, self.address, group, Way::Stream).await?;
        }
        let dead_letters = self.decoder.gather().take_dead_letter_count();
        self.delivery.run.progress.add_dead_letters(dead_letters);
        Ok(())
    }

    /// The LSN that may be acknowledged.
    fn safe(&mut self) -> u64 {
        let durable = self.delivery.durable;
        let is_idle = self.delivery.under_way() == 0
            && !self.decoder.is_open()
            && self.decoder.gather().whole() == 0;
        if is_idle { durable.max(self.tide.received) } else { durable }
    }

    async fn acknowledge_soon(&mut self) -> Result<(), Halt> {
        let is_due = self.acknowledged_at.elapsed() >= ACKNOWLEDGE_INTERVAL;
        if is_due || self.delivery.under_way() == 0 {
            self.acknowledge(false).await?;
        }
        Ok(())
    }

    async fn acknowledge(&mut self, reply: bool) -> Result<(), Halt> {
        let status = Status { durable: self.safe(), reply };
        status.send(&mut self.session).await.map_err(|error| self.address.explain(error))?;
        self.tide.reply_wanted = false;
        self.acknowledged_at = Instant::now();
        Ok(())
    }
}

/// Takes in one message of the server.
fn take(
    message: Message<'_>,
    decoder: &mut Decoder,
    tide: &mut Tide,
    address: &Address,
) -> Result<Fed, SourceError> {
    match (message.tag, message.body) {
        // 'w', the LSNs of the change and of the server, and the time; then pgoutput's message.
        (b'd', [b'w', header @ ..]) if header.len() >= 24 => {
            let (lsns, payload) = header.split_at(24);
            let server = Reader::new(&lsns[8..]).u64().unwrap_or_default();
            tide.server = tide.server.max(server);
            let fed = decoder.feed(payload)?;
            if let Fed::Commit(end) = fed {
                tide.received = tide.received.max(end);
            }
            Ok(fed)
        }
        (b'd', [b'k', rest @ ..]) => {
            let mut reader = Reader::new(rest);
            let mut read = || Ok((reader.u64()?, reader.i64()?, reader.u8()?));
            let (end, _time, reply) =
                read().map_err(|error: Malformed| address.explain(error.into()))?;
            tide.server = tide.server.max(end);
            tide.reply_wanted |= reply != 0;
            if !decoder.is_open() {
                tide.received = tide.received.max(end);
            }
            Ok(Fed::Nothing)
        }
        (b'E', body) => {
            let error = refusal(body).map_or_else(|error| error, SessionError::Refused);
            Err(address.explain(error))
        }
        (b'c', _) => {
            let reason = "the server ended the stream";
            Err(SourceError::Unreachable { system: address.shown(), reason: reason.to_owned() })
        }
        (b'd', _) => {
            Err(address.explain(SessionError::Malformed("an unknown replication message")))
        }
        // Notices and parameters.
        _ => Ok(Fed::Nothing),
    }
}

/// The decoder for what comes behind a position.
pub(crate) fn decoder(
    source: &str,
    discovered: &super::catalog::Discovered,
    position: u64,
) -> Decoder {
    let targets = discovered.tables.iter().map(|found| found.target.clone()).collect();
    Decoder::new(Arc::from(source), targets, discovered.types.clone(), position)
}
