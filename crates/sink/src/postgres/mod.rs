//! A view as a table of a PostgreSQL database.
//!
//! A step is one transaction: rows are deleted and upserted by the view's key, and the sink's row in `evert_progress`
//! moves from the step's first Time to its last. So the table equals the view at the Time that the progress tells,
//! whatever was interrupted, and a commit whose answer was lost is resolved by reading the progress again.
//!
//! Two sessions never write the same table: each holds advisory locks on the sink's name and on the table, and the
//! progress only moves from the Time that the session knows.

mod address;
mod apply;
mod encode;
mod progress;
mod session;
mod split;
mod target;
mod tls;
mod types;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use change::Time;
use tokio_postgres::Client;

use self::address::Address;
use self::apply::Statements;
use self::progress::{Held, Progress};
use self::session::reason;
use self::split::Split;
use self::target::Target;
use crate::{Sink, SinkConfig, SinkError, Step, options};

/// At most so many rows are counted to find out whether a table was emptied.
const FINGERPRINT_ROWS_MAX: u64 = 100_000;

/// A table of a PostgreSQL database.
pub(crate) struct PostgresSink {
    target: Target,
    progress: Progress,
    statements: Statements,
    /// What `evert_progress` says; `None` when the first step is yet to come.
    held: Option<Held>,
    /// What it will say, but for Time and rows.
    mark: Held,
    /// The view's name.
    view: String,
    /// Rows of unknown origin are replaced by the first step.
    replaces: bool,
    /// The user named the key: it is checked that it is one.
    checks_key: bool,
    /// `None` after an error: then nobody knows what the server did.
    client: Option<Client>,
}

impl PostgresSink {
    /// Connects, creates or checks the table, and reads what it holds.
    ///
    /// # Errors
    /// When the server cannot be reached, the table does not fit, or it is not what this sink left there.
    pub(crate) async fn open(config: &SinkConfig) -> Result<Self, SinkError> {
        options::check_known(config, &["key", "on_existing", "progress_schema"])?;
        let may_replace = options::may_replace(config)?;
        let view = options::with_key(config)?;
        let address = Address::parse(&config.url)?;
        let mut target = Target::describe(&view, &address)?;
        let client = session::connect(&address).await?;
        session::fence(&client, &format!("evert sink {}", config.name), &target.shown).await?;
        let schema = config.options.get("progress_schema").map_or("public", String::as_str);
        let progress = Progress::open(&client, schema, &config.name, &target.shown).await?;
        let mark = Held {
            log_id: shown_id(&config.log_id),
            view: config.origin(),
            time: Time::ZERO,
            rows: 0,
        };
        let held = progress.read(&client).await?;
        let mut opening =
            Opening { client: &client, target: &mut target, progress: &progress, mark: &mark };
        opening.check_origin(config, &address, held.as_ref()).await?;
        opening.prepare_table(&address, held.as_ref()).await?;
        let replaces = opening.check_rows(held.as_ref(), may_replace).await?;
        let statements = Statements::prepare(&client, &target).await?;
        let checks_key = config.options.contains_key("key");
        let (client, view) = (Some(client), view.name);
        Ok(Self { target, progress, statements, held, mark, view, replaces, checks_key, client })
    }

    async fn apply(&mut self, client: &Client, step: Step<'_>) -> Result<Held, SinkError> {
        let before = self.held.as_ref();
        let rows = before.map_or(0, |held| held.rows);
        let rows = rows
            .checked_add_signed(step.changes.diffs().iter().sum())
            .expect("a view never has fewer rows than none");
        let next = Held { time: step.upto, rows, ..self.mark.clone() };
        if step.changes.is_empty() && !self.replaces {
            // One statement is its own transaction.
            self.progress.advance(client, before, &next).await?;
            return Ok(next);
        }
        let split = Split::of(step.changes, &self.target.key, &self.view)?;
        self.run(client, "begin").await?;
        if self.replaces {
            self.run(client, &format!("truncate {}", self.target.table)).await?;
        }
        if split.has_null {
            self.target.take_null_keys(client, &self.view).await?;
        }
        let is_empty = self.replaces || rows_before(before) == 0;
        let step = apply::Rows { changes: step.changes, split: &split, is_empty };
        let applied =
            self.statements.apply(client, &self.target, step, self.checks_key && !self.replaces);
        applied.await.map_err(|error| self.named(error))?;
        self.progress.advance(client, before, &next).await?;
        self.run(client, "commit").await?;
        Ok(next)
    }

    async fn run(&self, client: &Client, sql: &str) -> Result<(), SinkError> {
        let done = client.batch_execute(sql).await;
        done.map_err(|error| session::failed(&self.target.shown, &error))
    }

    fn named(&self, error: apply::ApplyError) -> SinkError {
        match error {
            apply::ApplyError::DuplicateKey(key) => {
                SinkError::DuplicateKey { view: self.view.clone(), key }
            }
            apply::ApplyError::Sink(error) => error,
        }
    }
}

fn rows_before(held: Option<&Held>) -> u64 {
    held.map_or(0, |held| held.rows)
}

#[async_trait]
impl Sink for PostgresSink {
    fn held(&self) -> Time {
        self.held.as_ref().map_or(Time::ZERO, |held| held.time)
    }

    async fn write(&mut self, step: Step<'_>) -> Result<(), SinkError> {
        let Some(client) = self.client.take() else {
            let reason = "the connection was lost".to_owned();
            return Err(SinkError::Unreachable { target: self.target.shown.clone(), reason });
        };
        assert_eq!(step.after, self.held(), "a step begins at the Time that the sink holds");
        // After an error the client is dropped, and with it the transaction.
        self.held = Some(self.apply(&client, step).await?);
        self.replaces = false;
        self.client = Some(client);
        Ok(())
    }

    fn wants_rows(&self) -> bool {
        false
    }

    async fn finish(&mut self, _rows: &[RecordBatch]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What is looked at before a sink is open.
struct Opening<'a> {
    client: &'a Client,
    target: &'a mut Target,
    progress: &'a Progress,
    mark: &'a Held,
}

impl Opening<'_> {
    /// Refuses a progress that was written from another log or view.
    async fn check_origin(
        &mut self,
        config: &SinkConfig,
        address: &Address,
        held: Option<&Held>,
    ) -> Result<(), SinkError> {
        let Some(held) = held else { return Ok(()) };
        if held.log_id != self.mark.log_id {
            return Err(SinkError::OtherLog {
                target: self.target.shown.clone(),
                sink: config.name.clone(),
                found: held.log_id.clone(),
                expected: self.mark.log_id.clone(),
                repair: self.progress.forget(),
            });
        }
        if held.view != self.mark.view {
            let forget = self.progress.forget();
            // The rows are those of the other view; without its progress, they would be of unknown origin.
            let ddl = match self.target.find(self.client, address).await? {
                true => format!("truncate {}; {forget}", self.target.table),
                false => forget,
            };
            let (target, problem) = (self.target.shown.clone(), config.other_origin(&held.view));
            return Err(SinkError::Mismatch { target, problem, ddl });
        }
        Ok(())
    }

    /// Creates the table, or checks it; and keeps other sinks off it.
    async fn prepare_table(
        &mut self,
        address: &Address,
        held: Option<&Held>,
    ) -> Result<(), SinkError> {
        if !self.target.find(self.client, address).await? {
            if let Some(held) = held.filter(|held| held.rows > 0) {
                return Err(self.emptied(held, 0));
            }
            self.target.create(self.client).await?;
        }
        let table = format!("evert table {}", self.target.oid());
        session::fence(self.client, &table, &self.target.shown).await?;
        self.target.check(self.client).await
    }

    /// Compares the table's rows with the progress. Returns whether the first step replaces them.
    async fn check_rows(&self, held: Option<&Held>, may_replace: bool) -> Result<bool, SinkError> {
        let Some(held) = held else {
            let is_empty = self.target.count(self.client, 1).await? == 0;
            return match (is_empty, may_replace) {
                (true, _) => Ok(false),
                (false, true) => Ok(true),
                (false, false) => Err(SinkError::NotEmpty { target: self.target.shown.clone() }),
            };
        };
        let expected = held.rows.min(FINGERPRINT_ROWS_MAX);
        let limit = i64::try_from(expected).expect("the limit is small");
        let found = self.target.count(self.client, limit).await?;
        if found < expected { Err(self.emptied(held, found)) } else { Ok(false) }
    }

    fn emptied(&self, held: &Held, found: u64) -> SinkError {
        let forget = self.progress.forget();
        let repair = match found {
            0 => forget,
            _ => format!("truncate {}; {forget}", self.target.table),
        };
        SinkError::Emptied {
            target: self.target.shown.clone(),
            expected: held.rows,
            found,
            held: held.time.0,
            repair,
        }
    }
}

/// A log's id as a UUID is written.
pub(crate) fn shown_id(id: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in id.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
