//! The incremental engine: operators, arrangements, steps.
