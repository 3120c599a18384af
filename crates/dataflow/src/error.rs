//! What can go wrong, for the person who runs the views.

use arrow::error::ArrowError;
use change::TableName;
use datafusion::error::DataFusionError;

/// A view that cannot be maintained further, or a table whose changes make no sense.
///
/// An error names the views that stop; all others stay exact and go on.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// An expression fails for a row of the input.
    #[error("view {view}: cannot compute {expression}")]
    Evaluate {
        /// The view that stops.
        view: String,
        /// The expression, as the plan shows it.
        expression: String,
        /// What the expression says.
        source: DataFusionError,
    },
    /// The plan asks for something that the engine does not have.
    #[error("view {view}: cannot maintain {what}")]
    Unsupported {
        /// The view.
        view: String,
        /// What is missing.
        what: String,
    },
    /// Arrow refused columns, such as texts of more than 2 GiB in one batch.
    #[error("view {view}: cannot build its columns")]
    Columns {
        /// The view that stops.
        view: String,
        /// What Arrow says.
        source: ArrowError,
    },
    /// The rows of a table cannot be read.
    #[error("table {table}: cannot read its changes")]
    Table {
        /// The table.
        table: TableName,
        /// What Arrow says.
        source: ArrowError,
    },
    /// Changes of a table with other columns than the plans know.
    #[error("table {table}: its columns are not those that the views were planned for")]
    SchemaChanged {
        /// The table.
        table: TableName,
    },
    /// A source left a value out as unchanged, but the row that has it was never seen.
    #[error(
        "table {table}: column {column} of a row came without a value, and its old row is not known"
    )]
    OldRowUnknown {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// Two rows with the same key in a table, or a result of tables, whose rows were declared to have different ones.
    #[error("view {view}: two rows that it joins have the same key, against what is declared")]
    KeyTwice {
        /// The view that stops.
        view: String,
    },
    /// Equal rows so many that they cannot be counted.
    #[error("view {view}: a row is there more than 2^63 times")]
    TooMany {
        /// The view that stops.
        view: String,
    },
    /// A row of a table went that was declared to be append-only.
    #[error("table {table}: a row went, but the table is declared append-only")]
    RowGone {
        /// The table.
        table: TableName,
    },
    /// All rows of a table went, but its rows were not kept because it was declared append-only.
    #[error("table {table}: it was truncated, but is declared append-only")]
    Truncated {
        /// The table.
        table: TableName,
    },
}

impl FlowError {
    /// The error's stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Evaluate { .. } => "FLOW001",
            Self::Unsupported { .. } => "FLOW003",
            Self::Columns { .. } => "FLOW004",
            Self::Table { .. } => "FLOW005",
            Self::SchemaChanged { .. } => "FLOW006",
            Self::OldRowUnknown { .. } => "FLOW007",
            Self::Truncated { .. } => "FLOW008",
            Self::KeyTwice { .. } => "FLOW009",
            Self::RowGone { .. } => "FLOW010",
            Self::TooMany { .. } => "FLOW011",
        }
    }

    /// What the operator can do.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Evaluate { .. } => {
                "guard the expression, for example `case when b <> 0 then a / b end` or \
                 `try_cast(a as int)`, or filter such rows before it; then create the view again"
            }
            Self::Unsupported { .. } => "write the query without it, or cast to another type",
            Self::Columns { .. } | Self::Table { .. } => {
                "select fewer or smaller columns; if that does not help, report it with the view"
            }
            Self::SchemaChanged { .. } => "create the views that read the table again",
            Self::OldRowUnknown { .. } => {
                "the log lacks a part of the table: drop the source and create it again, which \
                 copies the table anew"
            }
            Self::Truncated { .. } | Self::RowGone { .. } => {
                "remove the append-only declaration from the table"
            }
            Self::KeyTwice { .. } => "remove the key's declaration from the table",
            Self::TooMany { .. } => "join on more columns, or filter before the join",
        };
        Some(help.to_owned())
    }
}

/// What an operator says before the view's name is known.
#[derive(Debug)]
pub(crate) enum OperatorError {
    Evaluate { expression: String, source: DataFusionError },
    Columns(ArrowError),
    KeyTwice,
    TooMany,
}

impl From<ArrowError> for OperatorError {
    fn from(source: ArrowError) -> Self {
        Self::Columns(source)
    }
}

impl OperatorError {
    pub(crate) fn of_view(self, view: &str) -> FlowError {
        let view = view.to_owned();
        match self {
            Self::Evaluate { expression, source } => {
                FlowError::Evaluate { view, expression, source }
            }
            Self::Columns(source) => FlowError::Columns { view, source },
            Self::KeyTwice => FlowError::KeyTwice { view },
            Self::TooMany => FlowError::TooMany { view },
        }
    }
}
