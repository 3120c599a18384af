//! What the user writes becomes what runs: pipes and SQL to incremental plans.

pub mod ir;
