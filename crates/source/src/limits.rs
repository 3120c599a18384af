//! The limits that only sources know. Those that stages agree on are in [`change::limits`].

/// The longest line of a file, or record of a CSV file, in bytes; a longer one becomes a dead letter.
pub(crate) const RECORD_BYTES_MAX: usize = 16 << 20;

/// How much of a bad input a dead letter keeps, in bytes.
pub(crate) const DEAD_LETTER_RAW_BYTES_MAX: usize = 4 << 10;

/// How much of a file's beginning is looked at to infer its columns, in bytes.
pub(crate) const SAMPLE_BYTES_MAX: usize = 1 << 20;

/// How many records of a file's beginning are looked at to infer its columns.
pub(crate) const SAMPLE_RECORDS_MAX: usize = 10_000;

/// How much is read from a file at once, in bytes.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// How many blocks are read ahead.
pub(crate) const BLOCKS_AHEAD_MAX: usize = 4;

/// How many groups are made ahead of the log.
pub(crate) const GROUPS_AHEAD_MAX: usize = 2;

/// How many submitted groups may wait for the disk.
pub(crate) const GROUPS_IN_FLIGHT_MAX: usize = 64;
