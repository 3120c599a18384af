//! The codes of problems, each with a sentence that says what it means. `docs/sql.md` lists the same table.

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code {
    /// The code, for people and machines to look up.
    pub code: &'static str,
    /// One sentence that says what it means.
    pub meaning: &'static str,
}

/// Text that is not a token: an open quote or comment, a strange character.
pub const LEXICAL: Code =
    code("SQL001", "The text cannot be cut into words: a quote or comment is open.");
/// Text that is not a statement of the language.
pub const SYNTAX: Code = code("SQL002", "The statement is not written as the language wants it.");
/// A statement of another kind.
pub const STATEMENT: Code = code("SQL003", "This kind of statement does not exist here.");
/// A stage of another kind.
pub const STAGE: Code = code("SQL004", "This stage of a pipe does not exist or is not supported.");
/// An end of a pipe that names no system.
pub const END: Code =
    code("SQL005", "An end of the pipe is not a system that can be read or written.");
/// An option that is written twice or has no value.
pub const OPTION: Code =
    code("SQL006", "An option is not written as NAME = VALUE, or is there twice.");
/// A table that is not there.
pub const TABLE: Code =
    code("SQL010", "There is no such table or view, or several have that name.");
/// A column that is not there.
pub const COLUMN: Code = code("SQL011", "There is no such column, or several have that name.");
/// A function that is not there.
pub const FUNCTION: Code = code("SQL012", "There is no such function.");
/// A source that is not there, or has other tables than the statement needs.
pub const SOURCE: Code =
    code("SQL013", "There is no such source, or it does not have one table to read.");
/// A name that is taken.
pub const TAKEN: Code = code("SQL014", "The name is taken by something else.");
/// Two columns of a view with one name.
pub const DUPLICATE: Code = code("SQL015", "Two columns of the view have the same name.");
/// Types that do not fit.
pub const TYPE: Code =
    code("SQL020", "The types do not fit, or a value cannot be read as its type.");
/// A column outside of the groups.
pub const GROUP: Code = code("SQL021", "A column is neither grouped by nor inside an aggregate.");
/// A result that changes without a change of the data.
pub const VOLATILE: Code =
    code("SQL030", "The result would change although no data does, so it cannot be maintained.");
/// A window function.
pub const WINDOW: Code = code(
    "SQL031",
    "A window function stands where none can, or in a form that cannot be maintained.",
);
/// A kind of join.
pub const JOIN: Code = code("SQL032", "This kind of join cannot be maintained.");
/// A subquery in an expression.
pub const SUBQUERY: Code = code("SQL033", "This subquery cannot be maintained.");
/// An aggregate function.
pub const AGGREGATE: Code = code("SQL034", "This aggregate cannot be maintained.");
/// Another clause.
pub const CLAUSE: Code = code("SQL035", "This clause cannot be maintained yet.");
/// An order that cannot be shown.
pub const ORDER: Code =
    code("SQL036", "The order is not by columns of the result, so it cannot be shown.");
/// A limit that is not a number.
pub const LIMIT: Code = code("SQL037", "A limit or offset is not a whole number.");
/// Anything that the planner underneath does not accept.
pub const PLANNER: Code = code("SQL040", "The query planner cannot plan this.");
/// Too much of something.
pub const TOO_LARGE: Code = code("SQL041", "The text is longer or nested deeper than the limit.");

/// Every code, ascending.
pub const ALL: [Code; 24] = [
    LEXICAL, SYNTAX, STATEMENT, STAGE, END, OPTION, TABLE, COLUMN, FUNCTION, SOURCE, TAKEN,
    DUPLICATE, TYPE, GROUP, VOLATILE, WINDOW, JOIN, SUBQUERY, AGGREGATE, CLAUSE, ORDER, LIMIT,
    PLANNER, TOO_LARGE,
];

const fn code(code: &'static str, meaning: &'static str) -> Code {
    Code { code, meaning }
}

/// Returns the table of codes as Markdown.
#[must_use]
pub fn table() -> String {
    let row = |code: &Code| format!("| {} | {} |\n", code.code, code.meaning);
    format!("| Code | Meaning |\n|---|---|\n{}", ALL.iter().map(row).collect::<String>())
}
