//! Views become rows in other systems, exactly once.
