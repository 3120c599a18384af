//! The limits of the language.

/// The longest text that is read, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 1 << 20;

/// The most words and signs of one statement: the planner walks long chains of operators recursively.
pub(crate) const STATEMENT_TOKENS_MAX: usize = 20_000;

/// The most binary operators of one expression: they nest, and the planner walks them recursively.
pub(crate) const OPERATORS_MAX: usize = 200;

/// The most keys that are tried for a view.
pub(crate) const KEYS_MAX: usize = 16;

/// The most names that a problem lists.
pub(crate) const NAMES_LISTED_MAX: usize = 12;
