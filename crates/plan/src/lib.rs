//! What the user writes becomes what runs: pipes and SQL to incremental plans.
//!
//! [`parse`] reads a script, or a pipe, which is sugar for a script. [`plan`] resolves every name against a
//! [`Catalog`], lets DataFusion type and optimise each query, and turns the result into the operators of [`ir`] that
//! can be maintained under changes. What cannot be maintained is refused, with its place in the text and what to
//! write instead: never a wrong answer. Problems are collected over the whole script and returned all at once.
//!
//! Nothing here reads a clock, a disk or a socket: the same text and catalogue give the same program.

mod batch;
mod casts;
mod catalog;
pub mod codes;
mod convert;
mod decorrelate;
mod definition;
mod dialect;
mod explain;
mod floats;
mod format;
mod functions;
mod gathered;
mod history;
mod intervals;
pub mod ir;
mod json;
mod keys;
mod lex;
mod limits;
mod logical;
mod lower;
mod name;
mod named;
mod nodes;
mod operators;
mod oracle;
mod overflow;
mod pipe;
mod place;
mod planner;
mod problem;
mod read;
mod resolve;
mod results;
mod rewrite;
mod scope;
mod script;
mod session;
mod spans;
mod spelling;
mod stack;
mod string_agg;
mod tables;
mod wanted;
mod whole_rows;
mod zeros;

#[cfg(test)]
mod tests;

pub use batch::{Batch, run_batch};
pub use catalog::Catalog;
pub use codes::Code;
pub use definition::{ColumnDefinition, TableDefinition};
pub use explain::{Line, explain, headline, outline};
pub use functions::session_context;
pub use history::{HISTORY, History};
pub use keys::{Key, keys};
pub use planner::plan;
pub use problem::{Problem, Problems};
pub use read::{
    Answer, Described, PlannedRead, Read, Relation, register, relation_name, statement,
};
pub use script::{Script, parse, parse_in};
pub use session::{
    Delete, Dropped, Insert, ROW_NUMBER, SessionStatement, Update, Values, session_statements,
};
pub use wanted::Wanted;
