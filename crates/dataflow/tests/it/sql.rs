//! SQL text through the planner.
