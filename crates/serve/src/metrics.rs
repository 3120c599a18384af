//! `GET /metrics`: numbers about the log, for Prometheus (text format 0.0.4).
//!
//! One table says what there is; everything else is asked with `GET /v1/status`.

use std::fmt::Write as _;

use change::Time;

use crate::backend::RunStatus;

/// What the text is.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics.
pub(crate) fn text(status: &RunStatus, time: Time) -> String {
    let (log, scrub) = (&status.log, &status.log.scrub);
    let passed_seconds = scrub.passed_us.unwrap_or(0).div_euclid(1_000_000);
    let passed_seconds = u64::try_from(passed_seconds).unwrap_or(0);
    let metrics = [
        (
            "evert_log_time",
            "gauge",
            "The last transaction in the log.",
            log.upper.0.saturating_sub(1),
        ),
        ("evert_view_time", "gauge", "The last transaction in the views.", time.0),
        ("evert_log_bytes", "gauge", "The bytes of the log's frames.", log.bytes),
        (
            "evert_log_full",
            "gauge",
            "Whether writers wait for room on the disk.",
            u64::from(log.full.is_some()),
        ),
        (
            "evert_scrub_bytes_total",
            "counter",
            "Bytes of the log that were read again to find damage.",
            scrub.bytes,
        ),
        ("evert_scrub_passes_total", "counter", "Full passes of scrubbing.", scrub.passes),
        (
            "evert_scrub_last_pass_timestamp_seconds",
            "gauge",
            "When the last full pass ended; 0 for never.",
            passed_seconds,
        ),
        (
            "evert_scrub_made_again_total",
            "counter",
            "Damaged files of proofs and indexes that were made again.",
            scrub.made_again,
        ),
        ("evert_damage_findings", "gauge", "Rows of evert.damage.", scrub.damage),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in metrics {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
            .expect("writing to a String");
    }
    text
}
