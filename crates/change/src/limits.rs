//! The limits that stages agree on. A limit that only one crate knows lives in that crate's own `limits.rs`.

/// The most rows that one [`ChangeBatch`](crate::ChangeBatch) of a source should hold; a larger transaction is cut
/// into parts.
pub const GROUP_ROWS_MAX: usize = 65_536;

/// The bytes of column values at which a source hands over what it has gathered.
pub const GROUP_BYTES_TARGET: usize = 4 << 20;

/// The largest single value, in bytes, that a source accepts. Larger ones become dead letters.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// The most columns of one table.
pub const COLUMNS_MAX: usize = 1_664;

/// The most transactions that one group may carry.
pub const GROUP_TRANSACTIONS_MAX: usize = 65_536;
