//! PostgreSQL as a source: a consistent copy of the tables, then every change, by logical replication.
//!
//! One connection in replication mode does it all. The first run notes in the log that it is going to make a slot
//! ([`setup`]), makes it, copies all tables as they were at the slot's position ([`backfill`]) and follows from there
//! ([`stream`]); later runs follow from what the log has. pgoutput's messages are decoded straight into columns
//! ([`decode`], [`gather`]). Nothing is acknowledged to the server before the log has synced it ([`delivery`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use change::{SourcePosition, TableSchema};
use tokio::time::Instant;

use self::address::Address;
use self::backfill::{Backfill, parse_lsn};
use self::catalog::{Discovered, DiscoveryError, discover};
use self::delivery::{Delivery, Halt};
use self::refusals::{RENEW, code, refused};
use self::session::Session;
use self::settings::Settings;
use self::setup::{
    State, System, check_published, confirmed, drop_publication, drop_slot, find_slot,
};
use self::stream::{Stream, decoder};
use crate::{End, Intake, Phase, Resume, RunOptions, Source, SourceConfig, SourceError};

pub use self::messages::MessageDecoder;

mod address;
mod backfill;
mod catalog;
mod decode;
mod delivery;
#[doc(hidden)]
pub mod exercise;
mod gather;
mod kinds;
mod messages;
mod numeric;
mod refusals;
mod session;
mod settings;
mod setup;
mod stream;
mod tls;
mod values;
mod wire;

/// The first pause before a server that is gone is tried again; each next is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often waiting is said again.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Opens a source; nothing is connected to yet.
pub(crate) fn open(config: SourceConfig) -> Result<Box<dyn Source>, SourceError> {
    let settings = Settings::read(&config.name, config.options)?;
    let address = Address::parse(&config.url)?;
    Ok(Box::new(Postgres { name: config.name, address, settings }))
}

/// Removes the slot and the publications that are ours.
pub(crate) async fn drop_source(
    config: SourceConfig,
    state: Option<String>,
) -> Result<(), SourceError> {
    let settings = Settings::read(&config.name, config.options)?;
    let address = Address::parse(&config.url)?;
    // Without a note nothing was made.
    let Some(state) = state else { return Ok(()) };
    let state = State::parse(&state)?;
    let explain = |error| address.explain(error);
    let mut session = Session::connect(&address).await.map_err(explain)?;
    let system = System::identify(&mut session).await.map_err(explain)?;
    state.check(&system, &address)?;
    drop_slot(&mut session, &address, &state.slot).await?;
    for publication in &state.own_publications {
        drop_publication(&mut session, publication).await.map_err(explain)?;
    }
    tracing::info!(source = %config.name, slot = settings.slot, "slot and publications were dropped");
    session.close().await;
    Ok(())
}

/// A PostgreSQL source.
struct Postgres {
    name: Arc<str>,
    address: Address,
    settings: Settings,
}

/// What a run knows from one connection to the next.
struct Known {
    state: Option<State>,
    tables: Vec<Arc<TableSchema>>,
    goal: Option<u64>,
    /// Whether the slot may be ahead of the log, which was restored.
    restored: bool,
}

#[async_trait]
impl Source for Postgres {
    async fn discover(&mut self, resume: &Resume) -> Result<Vec<Arc<TableSchema>>, SourceError> {
        let mut session = self.connect().await?;
        let discovered = self.find(&mut session, &resume.tables).await?;
        if let Some(state) = &resume.state {
            let system = self.identify(&mut session).await?;
            State::parse(state)?.check(&system, &self.address)?;
        }
        session.close().await;
        let tables = discovered.tables.iter();
        Ok(tables.map(|found| Arc::clone(&found.target.schema)).collect())
    }

    async fn run(
        &mut self,
        resume: Resume,
        intake: Arc<dyn Intake>,
        run: RunOptions,
    ) -> Result<End, SourceError> {
        let state = resume.state.as_deref().map(State::parse).transpose()?;
        let position = match resume.position {
            Some(SourcePosition::Lsn(lsn)) => lsn,
            Some(SourcePosition::Line { .. } | SourcePosition::Step(_)) | None => 0,
        };
        let restored = resume.restored;
        let mut known = Known { state, tables: resume.tables, goal: None, restored };
        let mut delivery = Delivery::new(intake, run, position);
        let mut patience = Patience::default();
        loop {
            let before = delivery.durable;
            let halt = match self.attempt(&mut known, &mut delivery).await {
                Ok(()) => return Ok(End::Ended),
                Err(halt) => halt,
            };
            if delivery.durable > before {
                patience = Patience::default();
            }
            match halt {
                Halt::Stopped => return Ok(End::Stopped),
                Halt::Failed(error) if error.is_transient() => {
                    if !patience.wait(&self.name, &error, &mut delivery.run).await {
                        return Ok(End::Stopped);
                    }
                }
                Halt::Failed(error) => return Err(error),
            }
        }
    }
}

impl Postgres {
    async fn connect(&self) -> Result<Session, SourceError> {
        Session::connect(&self.address).await.map_err(|error| self.address.explain(error))
    }

    async fn identify(&self, session: &mut Session) -> Result<System, SourceError> {
        System::identify(session).await.map_err(|error| self.address.explain(error))
    }

    async fn find(
        &self,
        session: &mut Session,
        logged: &[Arc<TableSchema>],
    ) -> Result<Discovered, SourceError> {
        discover(session, &self.name, &self.settings, logged).await.map_err(|error| match error {
            DiscoveryError::Session(error) => self.address.explain(error),
            DiscoveryError::Source(error) => error,
        })
    }

    /// Connects, copies if that was not done yet, and follows until the goal, a halt or a broken connection.
    async fn attempt(&self, known: &mut Known, delivery: &mut Delivery) -> Result<(), Halt> {
        let mut run = delivery.run.clone();
        run.progress.set_phase(Phase::Connecting);
        let mut session = tokio::select! {
            session = self.connect() => session?,
            () = run.stopped() => return Err(Halt::Stopped),
        };
        let system = self.identify(&mut session).await?;
        if let Some(state) = &known.state {
            state.check(&system, &self.address)?;
        }
        let discovered = self.find(&mut session, &known.tables).await?;
        let state = match known.state.clone().filter(|state| state.complete) {
            Some(state) => {
                self.check(&mut session, &state, &discovered, delivery.durable).await?;
                if known.restored {
                    self.check_restored(&mut session, &state.slot, delivery.durable).await?;
                    known.restored = false;
                }
                state
            }
            None => self.copy(&mut session, &discovered, known, delivery).await?,
        };
        if delivery.run.once && known.goal.is_none() {
            let sql = "select pg_current_wal_flush_lsn()";
            let lsn =
                session.query_value(sql).await.map_err(|error| self.address.explain(error))?;
            known.goal = lsn.as_deref().and_then(parse_lsn);
        }
        let decoder = decoder(&self.name, &discovered, delivery.submitted);
        let mut stream = Stream::start(session, &self.address, &state, decoder, delivery).await?;
        stream.goal = known.goal;
        let end = stream.follow().await;
        stream.close().await;
        end
    }

    /// Makes the first copy.
    async fn copy(
        &self,
        session: &mut Session,
        discovered: &Discovered,
        known: &mut Known,
        delivery: &mut Delivery,
    ) -> Result<State, Halt> {
        let mut backfill = Backfill {
            source: &self.name,
            address: &self.address,
            settings: &self.settings,
            discovered,
            system: self.identify(session).await?,
            noted: known.state.take(),
        };
        let copied = backfill.run(session, delivery).await;
        match copied {
            Ok((state, _position)) => {
                let schemas = discovered.tables.iter();
                known.tables = schemas.map(|found| Arc::clone(&found.target.schema)).collect();
                known.state = Some(state.clone());
                Ok(state)
            }
            Err(halt) => {
                known.state = backfill.noted;
                Err(halt)
            }
        }
    }

    /// Refuses to go on when something is missing that cannot be made good.
    async fn check(
        &self,
        session: &mut Session,
        state: &State,
        discovered: &Discovered,
        position: u64,
    ) -> Result<(), SourceError> {
        let name = &state.slot;
        let slot = find_slot(session, name).await.map_err(|error| self.address.explain(error))?;
        let Some(slot) = slot else {
            let position = SourcePosition::Lsn(position).to_string();
            return Err(SourceError::SlotMissing { slot: name.clone(), position });
        };
        if slot.database != state.database {
            let what = format!("replication slot {name} belongs to database {}", slot.database);
            return Err(refused(code::SLOT_LOST, what, RENEW.to_owned()));
        }
        if slot.wal_status == "lost" {
            let what = format!(
                "replication slot {name} lags so far behind that the server has removed the WAL it needs"
            );
            let help = format!("raise max_slot_wal_keep_size in the server; then {RENEW}");
            return Err(refused(code::SLOT_LOST, what, help));
        }
        check_published(session, &self.address, &state.publications, &discovered.tables).await
    }
}

impl Postgres {
    /// Refuses to go on when the slot was told that more is durable than a restored log holds. The server would go on
    /// behind that without a word.
    async fn check_restored(
        &self,
        session: &mut Session,
        slot: &str,
        position: u64,
    ) -> Result<(), SourceError> {
        let confirmed = confirmed(session, slot).await;
        let confirmed = confirmed.map_err(|error| self.address.explain(error))?.unwrap_or(0);
        if confirmed <= position {
            return Ok(());
        }
        let (at, held) = (SourcePosition::Lsn(confirmed), SourcePosition::Lsn(position));
        let what = format!(
            "replication slot {slot} was told that everything before {at} is durable, but the log was \
             restored and ends at {held}: what lies between is not sent again"
        );
        let help = format!(
            "{RENEW}; if the original took nothing in after the backup, remove the file `restored` of \
             the data directory instead"
        );
        Err(refused(code::SLOT_LOST, what, help))
    }
}

/// Waiting for a server that is gone: ever longer, and saying so, but not all the time.
#[derive(Default)]
struct Patience {
    pause: Option<Duration>,
    warned_at: Option<Instant>,
}

impl Patience {
    /// Waits a while; false when the source is to stop.
    async fn wait(&mut self, name: &str, error: &SourceError, run: &mut RunOptions) -> bool {
        run.progress.set_phase(Phase::Waiting(error.to_string()));
        if self.warned_at.is_none_or(|warned_at| warned_at.elapsed() >= WARN_INTERVAL) {
            tracing::warn!(source = %name, "{error}; waiting for it to come back");
            self.warned_at = Some(Instant::now());
        }
        let pause = self.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX));
        self.pause = Some(pause);
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = run.stopped() => false,
        }
    }
}
