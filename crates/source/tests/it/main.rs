//! Sources against the real systems.
#![allow(clippy::disallowed_methods, reason = "tests read clocks and start threads")]

mod postgres;
