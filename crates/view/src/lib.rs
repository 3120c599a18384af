//! What readers see: snapshots at a time, SQL over them, full-text search.
