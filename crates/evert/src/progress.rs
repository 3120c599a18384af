//! How a backfill goes on: bars with rate and time left on a terminal, a quiet line every ten seconds otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use source::Phase;
use tokio::sync::watch;

use crate::board::Board;

/// How often bars move.
const BAR_INTERVAL: Duration = Duration::from_millis(100);

/// How often a line is printed where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows the sources' backfills until the run stops.
pub(crate) fn show(board: &Arc<Board>, mut stopped: watch::Receiver<bool>) {
    let board = Arc::clone(board);
    let terminal = std::io::stderr().is_terminal();
    tokio::spawn(async move {
        let mut shown = Shown::new(terminal);
        let interval = if terminal { BAR_INTERVAL } else { LINE_INTERVAL };
        loop {
            tokio::select! {
                () = tokio::time::sleep(interval) => shown.update(&board),
                _ = stopped.wait_for(|&stop| stop) => break,
            }
        }
        shown.clear();
    });
}

/// What is on the terminal, or when lines began.
struct Shown {
    terminal: bool,
    bars: MultiProgress,
    backfills: BTreeMap<String, Backfill>,
}

/// One table that is being copied.
struct Backfill {
    table: String,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Shown {
    fn new(terminal: bool) -> Self {
        Self { terminal, bars: MultiProgress::new(), backfills: BTreeMap::new() }
    }

    fn update(&mut self, board: &Board) {
        for (name, entry) in board.sources() {
            let Phase::Backfill { table, rows, rows_estimate } = entry.progress.report().phase
            else {
                self.end(name);
                continue;
            };
            if self.backfills.get(name).is_some_and(|backfill| backfill.table != table) {
                self.end(name);
            }
            let terminal = self.terminal;
            let bars = &self.bars;
            let backfill = self.backfills.entry(name.to_owned()).or_insert_with(|| Backfill {
                bar: terminal.then(|| bar(bars, name, &table, rows_estimate)),
                since: Instant::now(),
                table,
            });
            match &backfill.bar {
                Some(bar) => bar.set_position(rows),
                None => tell(name, backfill, rows, rows_estimate),
            }
        }
    }

    fn end(&mut self, name: &str) {
        if let Some(Backfill { bar: Some(bar), .. }) = self.backfills.remove(name) {
            bar.finish_and_clear();
        }
    }

    fn clear(&mut self) {
        for name in self.backfills.keys().cloned().collect::<Vec<_>>() {
            self.end(&name);
        }
    }
}

fn bar(bars: &MultiProgress, source: &str, table: &str, rows: Option<u64>) -> ProgressBar {
    let (bar, template) = match rows {
        Some(rows) => (
            ProgressBar::new(rows),
            "{prefix} {wide_bar:.cyan} {human_pos}/{human_len} rows, {per_sec}, {eta} left",
        ),
        None => (ProgressBar::no_length(), "{prefix} {spinner} {human_pos} rows, {per_sec}"),
    };
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    bars.add(bar.with_style(style).with_prefix(format!("{source}: {table}")))
}

fn tell(source: &str, backfill: &Backfill, rows: u64, estimate: Option<u64>) {
    let seconds = backfill.since.elapsed().as_secs().max(1);
    let rate = rows / seconds;
    let left = estimate
        .filter(|&all| all > rows && rate > 0)
        .map(|all| format!(", {} left", HumanDuration(Duration::from_secs((all - rows) / rate))));
    tracing::info!(
        source,
        "backfill of {}: {} rows, {} rows/s{}",
        backfill.table,
        HumanCount(rows),
        HumanCount(rate),
        left.unwrap_or_default()
    );
}
