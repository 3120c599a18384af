//! log ──► `evert.damage`: a running process scrubs its log, and shows what it finds.

use std::sync::Arc;
use std::time::Duration;

use log::{Damage, Log, ScrubOptions, ScrubState};
use serve::api::ScrubStatus;
use tokio::sync::watch;
use view::{DamageRow, Views};

use crate::failure::Failure;

/// How often it is looked whether something new was found.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Starts to scrub the log, at so many MB a second; 0 for not at all.
pub(crate) fn start(log: &Log, megabytes_per_second: u32) -> Result<(), Failure> {
    if megabytes_per_second == 0 {
        return Ok(());
    }
    let bytes_per_second = u64::from(megabytes_per_second) * 1_000_000;
    Ok(log.start_scrubbing(ScrubOptions { bytes_per_second, ..ScrubOptions::default() })?)
}

/// Shows what is damaged, also what is known of it from an earlier run, until the run is over.
pub(crate) async fn show(log: Arc<Log>, views: Arc<Views>, mut stopped: watch::Receiver<bool>) {
    let mut shown: Vec<Damage> = Vec::new();
    loop {
        let ScrubState { damage, .. } = log.scrubbed();
        if damage != shown {
            match views.show_damage(&damage.iter().map(row).collect::<Vec<_>>()) {
                Ok(()) => shown = damage,
                Err(error) => tracing::warn!(%error, "damage of the log cannot be shown"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            _ = stopped.wait_for(|&stop| stop) => return,
        }
    }
}

/// A finding as a row of `evert.damage`.
pub(crate) fn row(damage: &Damage) -> DamageRow {
    DamageRow {
        file: damage.file.clone(),
        offset: damage.offset,
        bytes: damage.bytes,
        times: damage.times,
        tables: damage.tables.clone(),
        problem: damage.reason.clone(),
        since_us: damage.since_us,
        repair: damage.help().to_owned(),
    }
}

/// What `evert status` and the metrics show.
pub(crate) fn status(state: &ScrubState) -> ScrubStatus {
    ScrubStatus {
        bytes: state.bytes,
        passes: state.passes,
        passed_us: (state.passed_us > 0).then_some(state.passed_us),
        made_again: state.made_again,
        damage: state.damage.len() as u64,
    }
}
