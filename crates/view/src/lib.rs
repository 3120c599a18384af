//! What readers see: snapshots at a time, SQL over them, full-text search.
//!
//! [`Views`] holds the rows of every view, all at one [`Time`](change::Time). The engine moves it forward; readers take
//! a [`Snapshot`], which never changes, or [subscribe](Views::subscribe) to what comes. A [`search::SearchIndex`] is a
//! view's copy on disk that answers words instead of SQL. Rows that could not be computed are read as [`ERRORS`], and
//! what went bad of the log as [`DAMAGE`].
//!
//! Invariant: no reader ever sees two views, or two rows, of different Times together.

pub(crate) use change::cell;
pub mod damage;
mod digest;
pub mod error;
pub mod errors;
pub mod json;
pub mod keyed;
pub mod limits;
mod page;
pub mod query;
pub mod search;
pub mod snapshot;
pub mod store;
pub mod subscribe;
pub mod text;

pub use damage::{DAMAGE, DamageRow, damage_info, damage_rows};
pub use error::ViewError;
pub use errors::{ERRORS, Lacking, RowError, errors_info};
pub use keyed::{encode_key, has_null};
pub use query::{QueryOptions, QueryResult};
pub use snapshot::Snapshot;
pub use store::{Draft, Step, ViewInfo, Views};
pub use subscribe::{Event, Subscription, Update};
