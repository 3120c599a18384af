//! What the process tells while it runs, on standard error: short lines for people, or JSON lines for machines.
//!
//! `EVERT_LOG` chooses what is told, such as `debug` or `source=debug`.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What is told when nobody chooses: ours from INFO on, libraries' warnings.
const DEFAULT_FILTER: &str = "warn,evert=info,source=info,sink=info,log=info,serve=info,\
                              view=info,tantivy=error";

/// Begins to tell.
pub(crate) fn start(json: bool) {
    let filter = EnvFilter::try_from_env("EVERT_LOG")
        .unwrap_or_else(|_unset| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        builder.json().flatten_event(true).init();
    } else {
        builder.event_format(Lines).init();
    }
}

/// One line an event: `evert: shop: going on from 0/1A2B3C`.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "",
        };
        let mut line = Line::default();
        event.record(&mut line);
        write!(writer, "evert: {level}")?;
        if let Some(subject) = line.subject {
            write!(writer, "{subject}: ")?;
        }
        writeln!(writer, "{}{}", line.message, line.rest)
    }
}

/// The fields of an event, sorted into a sentence.
#[derive(Default)]
struct Line {
    subject: Option<String>,
    message: String,
    rest: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "source" | "sink" | "view" => self.subject = Some(format!("{value:?}")),
            name => self.rest.push_str(&format!(" {name}={value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
