//! Why a statement of a session was refused. Nothing of it has happened then.

/// A refused statement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// A row with that key is there.
    #[error("table {table} has a row with {key} already")]
    Duplicate {
        /// The table.
        table: String,
        /// The key's columns and values.
        key: String,
    },
    /// NULL in a column that may not have it.
    #[error("column {column} of table {table} may not be NULL")]
    Null {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A value that is not one of its column.
    #[error("column {column} of table {table}: {reason}")]
    Value {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Why not.
        reason: String,
    },
    /// More or fewer values than columns.
    #[error("table {table}: {values} values for {columns} columns")]
    Count {
        /// The table.
        table: String,
        /// How many values there are in a row.
        values: usize,
        /// How many columns are to be filled.
        columns: usize,
    },
    /// There is nothing of that name.
    #[error("there is no {kind} named {name}")]
    Unknown {
        /// What it should be.
        kind: &'static str,
        /// The name.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The name belongs to something else.
    #[error("a table or view named {name} exists already")]
    Taken {
        /// The name.
        name: String,
    },
    /// The statement does not belong here.
    #[error("{what}")]
    Order {
        /// What is wrong.
        what: &'static str,
        /// What to do.
        help: &'static str,
    },
    /// The view stopped at an error and has no rows that are right.
    #[error("view {view} has stopped: {reason}")]
    Stopped {
        /// The view.
        view: String,
        /// Why, with the engine's code.
        reason: String,
    },
    /// A maintained view is not what its query gives.
    #[error("view {view} is not what its query gives over the same tables:\n{difference}")]
    Differs {
        /// The view.
        view: String,
        /// Rows that are missing (`-`) or too many (`+`).
        difference: String,
    },
}

impl SessionError {
    /// The error's stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Duplicate { .. } => "TAB001",
            Self::Null { .. } => "TAB002",
            Self::Value { .. } => "TAB003",
            Self::Count { .. } => "TAB004",
            Self::Unknown { .. } => "TAB005",
            Self::Taken { .. } => "TAB006",
            Self::Order { .. } => "TAB007",
            Self::Stopped { .. } => "TAB008",
            Self::Differs { .. } => "TAB009",
        }
    }

    /// What to do.
    pub(crate) fn help(&self) -> Option<String> {
        let help = match self {
            Self::Duplicate { .. } => {
                "update that row, or write `insert … on conflict do nothing`".to_owned()
            }
            Self::Null { .. } => "give it a value".to_owned(),
            Self::Value { .. } => "write another value, or cast it: `value::type`".to_owned(),
            Self::Count { .. } => "name the columns: `insert into TABLE (a, b) …`".to_owned(),
            Self::Unknown { known, .. } if known.is_empty() => "there are none".to_owned(),
            Self::Unknown { known, .. } => format!("there are: {}", known.join(", ")),
            Self::Taken { .. } => "choose another name, or drop it first".to_owned(),
            Self::Order { help, .. } => (*help).to_owned(),
            Self::Stopped { .. } => "drop the view and create it again".to_owned(),
            Self::Differs { .. } => "this is a defect of Evert; please report it".to_owned(),
        };
        Some(help)
    }
}
