//! Why a command failed, told to people: code, what, place, what to do; and the exit code told to scripts.

use std::error::Error;
use std::fmt::Write as _;

use backup::BackupError;
use dataflow::FlowError;
use log::LogError;
use miette::{Diagnostic, GraphicalReportHandler, LabeledSpan, NamedSource, Severity, SourceCode};
use plan::{Problem, Problems};
use serve::ServeError;
use serve::client::ClientError;
use sink::SinkError;
use source::SourceError;
use view::ViewError;

use crate::session::SessionError;

/// Everything that can end a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The script is wrong, in one or more places.
    #[error("{name} has problems")]
    Script {
        /// What people know the script by: its file.
        name: String,
        /// What is wrong.
        problems: Problems,
    },
    /// The command line asks for something that cannot be.
    #[error("{what}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What to do.
        help: String,
    },
    /// Another process has the data directory.
    #[error("the data directory {directory} is in use by {holder}")]
    InUse {
        /// The directory.
        directory: String,
        /// Who has it.
        holder: String,
    },
    /// A file could not be read or written.
    #[error("{what}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A source failed for good.
    #[error("source {name}: {source}")]
    Source {
        /// The source.
        name: String,
        /// Why.
        source: Box<SourceError>,
    },
    /// A sink failed for good.
    #[error("sink {name}: {source}")]
    Sink {
        /// The sink.
        name: String,
        /// Why.
        source: Box<SinkError>,
    },
    /// The engine failed.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// A read failed.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The HTTP interface failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The running process did not answer as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A statement of a session was refused.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Test files that did not pass.
    #[error("{failed} of {all} test files failed")]
    Tests {
        /// How many failed.
        failed: usize,
        /// How many there were.
        all: usize,
    },
    /// Something is not what was signed, or cannot be proved.
    #[error("{what}")]
    NotProven {
        /// What is wrong, and where.
        what: String,
        /// What to do.
        help: String,
    },
    /// A backup could not be made or used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A part of the process ended that should not.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Script { name: "script".to_owned(), problems }
    }
}

impl Failure {
    /// Names the file that a script came from, when it came from one.
    pub(crate) fn in_script(self, argument: &str) -> Self {
        let Self::Script { problems, .. } = self else { return self };
        let is_file = argument.ends_with(".sql") && argument != problems.text;
        let name = if is_file { argument } else { "script" }.to_owned();
        Self::Script { name, problems }
    }

    /// Describes a failed operation on a file.
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// A source failed for good.
    pub(crate) fn source(name: impl Into<String>, source: SourceError) -> Self {
        Self::Source { name: name.into(), source: Box::new(source) }
    }

    /// A sink failed for good.
    pub(crate) fn sink(name: impl Into<String>, source: SinkError) -> Self {
        Self::Sink { name: name.into(), source: Box::new(source) }
    }

    /// The failure as the running process tells it over its socket.
    pub(crate) fn problem(&self) -> serve::api::Problem {
        let first = match self {
            Self::Script { problems, .. } => problems.problems.first(),
            Self::Usage { .. }
            | Self::InUse { .. }
            | Self::Io { .. }
            | Self::Log(_)
            | Self::Source { .. }
            | Self::Sink { .. }
            | Self::Flow(_)
            | Self::View(_)
            | Self::Serve(_)
            | Self::Client(_)
            | Self::Session(_)
            | Self::Tests { .. }
            | Self::NotProven { .. }
            | Self::Backup(_)
            | Self::Ended(_) => None,
        };
        serve::api::Problem {
            code: first.map_or(self.code(), |problem| problem.code).to_owned(),
            title: "Statement refused".to_owned(),
            status: if self.exit_code() == 2 { 400 } else { 500 },
            detail: first.map_or_else(|| self.to_string(), |problem| problem.message.clone()),
            help: first.map_or_else(|| self.help(), |problem| problem.help.clone()),
        }
    }

    /// What a statement's failure says, its code first; `None` when more than the statement failed.
    pub(crate) fn of_statement(&self) -> Option<String> {
        match self {
            Self::Script { problems, .. } => {
                let first = problems.problems.first()?;
                Some(format!("{}: {}", first.code, first.message))
            }
            // A view that is wrong is no error that a test could expect.
            Self::Session(SessionError::Differs { .. }) => None,
            Self::Session(_) | Self::Usage { .. } | Self::View(_) | Self::Flow(_) => {
                Some(format!("{}: {self}", self.code()))
            }
            Self::InUse { .. }
            | Self::Io { .. }
            | Self::Log(_)
            | Self::Source { .. }
            | Self::Sink { .. }
            | Self::Serve(_)
            | Self::Client(_)
            | Self::Tests { .. }
            | Self::NotProven { .. }
            | Self::Backup(_)
            | Self::Ended(_) => None,
        }
    }

    /// The exit code, as `evert --help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Script { .. } | Self::Usage { .. } | Self::View(_) | Self::Session(_) => 2,
            Self::Tests { .. } => 7,
            Self::NotProven { .. } => 8,
            Self::Source { source, .. } if names_no_source(source) => 2,
            Self::Sink { source, .. } if names_no_sink(source) => 2,
            Self::Sink { source, .. } if source.is_disk_full() => 6,
            Self::Source { .. } | Self::Sink { .. } | Self::Serve(_) => 3,
            Self::InUse { .. } | Self::Backup(BackupError::Busy { .. }) => 4,
            Self::Backup(error) if error.is_disk_full() => 6,
            Self::Backup(BackupError::Place { .. } | BackupError::None { .. }) => 2,
            Self::Backup(BackupError::Store { .. } | BackupError::Lost { .. }) => 3,
            Self::Backup(BackupError::Damaged { .. } | BackupError::Altered { .. }) => 5,
            Self::Backup(
                BackupError::Io { .. } | BackupError::Format { .. } | BackupError::TooLarge { .. },
            ) => 1,
            Self::Log(error) if error.is_disk_full() => 6,
            Self::Log(
                LogError::Damaged { .. }
                | LogError::Missing { .. }
                | LogError::Unsound { .. }
                | LogError::Behind { .. }
                | LogError::Altered { .. },
            ) => 5,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => 6,
            Self::Client(ClientError::Refused(_)) => 2,
            Self::Log(_) | Self::Io { .. } | Self::Flow(_) | Self::Client(_) | Self::Ended(_) => 1,
        }
    }

    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Script { .. } => "SQL000",
            Self::Usage { .. } => "EVT001",
            Self::InUse { .. } => "EVT002",
            Self::Io { .. } => "EVT003",
            Self::Ended(_) => "EVT004",
            Self::Tests { .. } => "EVT005",
            Self::NotProven { .. } => "EVT006",
            Self::Session(error) => error.code(),
            Self::Log(error) => error.code(),
            Self::Source { source, .. } => source.code(),
            Self::Sink { source, .. } => source.code(),
            Self::Flow(error) => error.code(),
            Self::View(error) => error.code(),
            Self::Serve(error) => error.code(),
            Self::Client(error) => error.code(),
            Self::Backup(error) => error.code(),
        }
    }

    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Script { .. } | Self::Io { .. } => None,
            Self::Tests { .. } => Some(
                "read the differences above; `--override` writes what was found into the files"
                    .to_owned(),
            ),
            Self::Session(error) => error.help(),
            Self::Usage { help, .. } | Self::NotProven { help, .. } => Some(help.clone()),
            Self::InUse { .. } => {
                Some("stop that process, or name another directory with --data DIR".to_owned())
            }
            Self::Ended(_) => Some("this is a defect of Evert; please report it".to_owned()),
            Self::Log(error) => error.help(),
            Self::Source { source, .. } => source.help(),
            Self::Sink { source, .. } => source.help(),
            Self::Flow(error) => error.help(),
            Self::View(error) => error.help(),
            Self::Serve(error) => error.help(),
            Self::Client(error) => error.help(),
            Self::Backup(error) => error.help(),
        }
    }

    /// Tells the failure as log events, for machines: one for every problem of a script.
    pub(crate) fn log(&self) {
        let Self::Script { name, problems } = self else {
            tracing::error!(code = self.code(), help = self.help(), "{self}");
            return;
        };
        for Problem { code, span, message, help, .. } in &problems.problems {
            let help = help.as_deref();
            tracing::error!(
                code,
                help,
                script = name,
                from = span.start,
                to = span.end,
                "{message}"
            );
        }
    }

    /// The failure as text for standard error, every problem of a script with its place.
    pub(crate) fn render(&self, graphical: bool) -> String {
        if let Self::Script { name, problems } = self {
            return render_problems(name, problems, graphical);
        }
        let mut text = format!("{}: {self}\n", title(self.code(), graphical));
        let mut cause = Error::source(self);
        while let Some(error) = cause {
            // Some say in their own text what their source says.
            let because = error.to_string();
            if !text.contains(&because) {
                writeln!(text, "  because: {because}").expect("writing to a String");
            }
            cause = error.source();
        }
        if let Some(help) = self.help() {
            writeln!(text, "  help: {help}").expect("writing to a String");
        }
        text
    }
}

/// Whether the script is wrong, and not the system that it names.
fn names_no_source(error: &SourceError) -> bool {
    matches!(error, SourceError::UnknownUrl { .. } | SourceError::Option { .. })
}

/// The same of a sink.
fn names_no_sink(error: &SinkError) -> bool {
    use SinkError::{Address, Option, UnknownTarget};
    matches!(error, UnknownTarget { .. } | Address { .. } | Option { .. })
}

/// `error[SQL010]`, bold and red on a terminal.
fn title(code: &str, graphical: bool) -> String {
    if graphical { format!("\x1b[1;31merror[{code}]\x1b[0m") } else { format!("error[{code}]") }
}

/// Every problem with its place, an empty line between them.
fn render_problems(name: &str, problems: &Problems, graphical: bool) -> String {
    let mut theme = if graphical {
        miette::GraphicalTheme::unicode()
    } else {
        miette::GraphicalTheme::unicode_nocolor()
    };
    let source = NamedSource::new(name, problems.text.clone());
    let mut texts = Vec::new();
    for problem in &problems.problems {
        // What miette draws before a message, usually a cross.
        theme.characters.error = format!("error[{}]:", problem.code);
        let handler = GraphicalReportHandler::new_themed(theme.clone());
        let handler = handler.with_width(100).with_links(false);
        let mut text = String::new();
        let shown = Shown { problem, source: &source };
        handler.render_report(&mut text, &shown).expect("rendering into a String");
        texts.push(text.trim_start().to_owned());
    }
    texts.join("\n")
}

/// A problem as miette wants to see it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: &'a NamedSource<String>,
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span.clone();
        let label = (!self.problem.label.is_empty()).then(|| self.problem.label.to_string());
        Some(Box::new(std::iter::once(LabeledSpan::new(label, span.start, span.len()))))
    }
}
