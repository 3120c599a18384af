//! Copies of files elsewhere, in a directory or in S3: incremental, whole or not there, and verified when they come back.
//!
//! ```text
//! PLACE/
//!   manifests/UPPER-TAKEN-HASH   one for each backup, written last: what it consists of
//!   pieces/ab/abcdef…            the bytes of files, under their SHA-256
//!   locks/…                      who is at work here
//! ```
//!
//! What is copied are files that only grow; one that is written anew has another name, whatever its path. A backup names
//! each as a list of pieces; the next one names the same pieces and adds those of the bytes that came since. A piece is named by what it holds, so writing one again does no harm,
//! and what an interrupted backup left behind is used by the next one or by nobody.
//!
//! What holds:
//!
//! - **A backup is there as a whole or not at all**: its manifest is written when all its pieces are durable.
//! - **Every byte is checked**: pieces by their names, the manifest by its own. Nothing that was read is used before.
//! - **Memory is bounded**: some pieces at a time, whatever a file's size.
//!
//! The crate knows nothing of logs but the few facts that a manifest tells about one.
#![allow(
    clippy::disallowed_methods,
    reason = "an edge of the system: it reads clocks and speaks to other systems"
)]

mod error;
#[doc(hidden)]
pub mod exercise;
pub mod faults;
mod fetch;
pub mod limits;
mod lock;
mod manifest;
mod place;
mod prune;
mod upload;

pub use error::BackupError;
pub use fetch::Fetched;
pub use lock::Lock;
pub use manifest::{
    BackupId, FORMAT, Manifest, Piece, Signed, StoredFile, ViewDigest, ViewDigests,
};
pub use place::Place;
pub use prune::Pruned;
pub use upload::{Item, Read, Uploaded};
