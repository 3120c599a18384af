//! What this crate allows at most.

use std::time::Duration;

/// The most distinct rows of one page of a view.
pub const PAGE_ROWS_MAX: usize = 8_192;

/// How many pages of about the same size are merged into one.
pub(crate) const PAGES_MERGED: usize = 8;

/// The rows of one batch that a snapshot hands out.
pub(crate) const BATCH_ROWS: usize = 8_192;

/// A view with at most so many rows is read in its order by SQL too, so that small answers repeat exactly.
pub(crate) const ORDERED_READ_ROWS_MAX: u64 = 16_384;

/// The bytes of past changes that are kept for each view, so that subscribers may lag or come back.
pub const RING_BYTES_MAX: usize = 16 << 20;

/// The past changes that are kept for each view, whatever their bytes.
pub(crate) const RING_UPDATES_MAX: usize = 16_384;

/// The memory that one query may use beside its input and its result, unless its options say otherwise.
pub const QUERY_BYTES_MAX: usize = 512 << 20;

/// The bytes of one query's result, unless its options say otherwise.
pub const RESULT_BYTES_MAX: usize = 256 << 20;

/// How long one query may run, unless its options say otherwise.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// The memory in which a search index gathers rows before it writes a segment.
pub(crate) const SEARCH_WRITER_BYTES: usize = 48 << 20;

/// The longest word that is searched for, in bytes; a longer one is not indexed.
pub(crate) const SEARCH_WORD_BYTES_MAX: usize = 255;

/// The longest key that a search index holds as it is, in bytes; of a longer one it holds the hash.
pub(crate) const SEARCH_KEY_BYTES_MAX: usize = 512;

/// The most hits of one search.
pub const SEARCH_HITS_MAX: usize = 10_000;
