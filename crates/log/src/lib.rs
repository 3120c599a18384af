//! The durable order: segments, group commit, recovery, reading from any time.
