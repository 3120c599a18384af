//! Recorded and hostile bytes.
