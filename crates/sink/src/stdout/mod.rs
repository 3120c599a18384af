//! A view on the standard output: a table that moves on a terminal, lines of JSON elsewhere.
//!
//! The output keeps nothing, so every run begins with the whole view: the first step is the view itself.

mod live;

use std::io::{self, IsTerminal, Write};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use change::Time;
use tokio::time::{Duration, Instant, sleep_until};

use self::live::LiveTable;
use crate::lines::{off_thread, write_changes};
use crate::options::check_known;
use crate::{Sink, SinkConfig, SinkError, Step};

/// The least time between two pictures: a person sees no more.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Characters in a line.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// The standard output, or what a test gives in its place.
pub struct StdoutSink {
    held: Time,
    mode: Mode,
    /// `None` after an error.
    out: Option<Box<dyn Write + Send>>,
    /// How large the terminal is; `None` when the output is none.
    screen: Option<fn() -> Screen>,
    drawn_at: Option<Instant>,
}

enum Mode {
    /// The final rows, at the end.
    Final,
    /// Changes as they come.
    Changes,
    /// The present rows, redrawn.
    Live(Box<LiveTable>),
}

impl StdoutSink {
    /// Opens the process's standard output.
    ///
    /// # Errors
    /// When an option is unknown.
    pub fn open(config: &SinkConfig) -> Result<Self, SinkError> {
        let screen: Option<fn() -> Screen> = io::stdout().is_terminal().then_some(terminal);
        Self::with_writer(config, Box::new(io::stdout()), screen)
    }

    /// Writes to `out`, as to a terminal when its size is given.
    ///
    /// # Errors
    /// When an option is unknown, or a column's type cannot be sorted by.
    pub fn with_writer(
        config: &SinkConfig,
        out: Box<dyn Write + Send>,
        screen: Option<fn() -> Screen>,
    ) -> Result<Self, SinkError> {
        check_known(config, &[])?;
        let mode = match (config.once, screen) {
            (true, _) => Mode::Final,
            (false, None) => Mode::Changes,
            (false, Some(_)) => Mode::Live(Box::new(LiveTable::new(&config.view)?)),
        };
        Ok(Self { held: Time::ZERO, mode, out: Some(out), screen, drawn_at: None })
    }

    /// Shows bytes at once.
    async fn show(&mut self, bytes: Vec<u8>) -> Result<(), SinkError> {
        let shown = off_thread(&mut self.out, move |out| {
            out.write_all(&bytes)?;
            out.flush()
        });
        shown.await.map_err(failed)
    }
}

#[async_trait]
impl Sink for StdoutSink {
    fn held(&self) -> Time {
        self.held
    }

    async fn write(&mut self, step: Step<'_>) -> Result<(), SinkError> {
        assert_eq!(step.after, self.held, "a step begins at the Time that the sink holds");
        self.held = step.upto;
        match &mut self.mode {
            Mode::Final => {}
            Mode::Changes => {
                let (changes, time) = (step.changes.clone(), step.upto);
                let written = off_thread(&mut self.out, move |out| {
                    write_changes(&changes, time, out)?;
                    out.flush()
                });
                written.await.map_err(failed)?;
            }
            Mode::Live(table) => {
                table.apply(step.changes)?;
                // What comes meanwhile gathers in the outbox, and the last picture is always drawn.
                if let Some(drawn_at) = self.drawn_at {
                    sleep_until(drawn_at + REDRAW_INTERVAL).await;
                }
                let screen = self.screen.expect("a live table has a terminal")();
                let picture = table.draw(step.upto, screen)?;
                self.drawn_at = Some(Instant::now());
                self.show(picture).await?;
            }
        }
        Ok(())
    }

    fn wants_rows(&self) -> bool {
        matches!(self.mode, Mode::Final)
    }

    async fn finish(&mut self, rows: &[RecordBatch]) -> Result<(), SinkError> {
        if !matches!(self.mode, Mode::Final) {
            return Ok(());
        }
        if let Some(screen) = self.screen {
            return self.show(live::whole_table(rows, screen().width)).await;
        }
        for batch in rows {
            for start in (0..batch.num_rows()).step_by(8_192) {
                let mut lines = Vec::new();
                let length = (batch.num_rows() - start).min(8_192);
                view::json::write_lines(&batch.slice(start, length), &mut lines);
                self.show(lines).await?;
            }
        }
        Ok(())
    }
}

/// The terminal's size now; a common one when it does not say.
fn terminal() -> Screen {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    match size {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Screen { width: size.ws_col, height: size.ws_row }
        }
        Ok(_) | Err(_) => Screen { width: 80, height: 24 },
    }
}

fn failed(source: io::Error) -> SinkError {
    if source.kind() == io::ErrorKind::BrokenPipe {
        return SinkError::Closed;
    }
    SinkError::File { path: "stdout".into(), source }
}

#[cfg(test)]
mod tests;
