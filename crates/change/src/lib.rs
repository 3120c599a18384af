//! What flows: the nouns that every stage speaks.
//!
//! A source produces [`TransactionGroup`]s; the log orders them by [`Time`]; the dataflow turns their [`TableChanges`]
//! into exact [`ChangeBatch`]es; views and sinks receive those. Nothing in this crate reads a clock, a disk or a
//! socket, and no result depends on the order of a hash table.

pub mod batch;
pub mod catalog;
pub mod cell;
pub mod consolidate;
#[doc(hidden)]
pub mod exercise;
pub mod floats;
pub mod limits;
pub mod map;
pub mod order;
pub mod read;
pub mod schema;
pub mod time;
pub mod transaction;

pub use batch::{ChangeBatch, TRUNCATE};
pub use consolidate::consolidate;
pub use schema::{
    ChangeForm, TableName, TableSchema, is_char, is_same_logical_type, kept_as_text, logical_type,
    text_of_type, with_logical_type,
};
pub use time::Time;
pub use transaction::{
    Part, RequestId, SourcePosition, TableChanges, TransactionGroup, TransactionHead, Unchanged,
};
