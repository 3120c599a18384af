//! Operators: each turns the changes of its inputs into the changes of its output.
//!
//! For a query Q, the operator's output over a step is Q(after) − Q(before), as rows with diffs. Linear operators
//! (filter, project, unnest) owe nothing to earlier rows: Q(A + Δ) − Q(A) = Q(Δ). Joins of every kind answer each change
//! at once from the other side's arrangement. The others (aggregate, set, top-k, window, single) take changes in as they
//! come, and emit at the step's end, once for each key that was touched: those are the [`Operator`]s that the graph
//! asks; filters, projections and joins it drives itself, and so it does a join that is one with the aggregate above it
//! ([`eager`]).

mod aggregate;
pub(crate) mod band;
mod constant;
pub(crate) mod eager;
pub(crate) mod filter;
pub(crate) mod join;
pub(crate) mod numbering;
mod partitioned;
mod pending;
pub(crate) mod project;
mod set;
mod single;
#[cfg(test)]
mod tests;
mod topk;
mod unnest;
mod window;

use change::ChangeBatch;
use plan::ir::Node;

use crate::arrangement::StateSize;
use crate::error::OperatorError;
use crate::state::State;

pub(crate) use aggregate::{Aggregate, AggregateOptions, Numbered, Phase, part_schema};
use constant::Constant;
use set::{Rule, Set};
use single::Single;
use topk::TopK;
use unnest::Unnest;
use window::Window;

/// What an operator that cannot be built lacks, or that Arrow refuses its types.
pub(crate) enum BuildError {
    Unsupported(String),
    Columns(arrow::error::ArrowError),
}

impl From<arrow::error::ArrowError> for BuildError {
    fn from(source: arrow::error::ArrowError) -> Self {
        Self::Columns(source)
    }
}

/// What an operator gives out.
#[derive(Default)]
pub(crate) struct Out {
    /// Changes of its result.
    pub(crate) rows: Vec<ChangeBatch>,
    /// Changes of the rows that could not be computed.
    pub(crate) faults: Vec<Fault>,
}

/// A row that is not part of a result because it could not be computed, with a diff.
///
/// Faults are maintained like rows: who emits one with +1 emits the same one with −1 when its cause is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What could not be computed.
    pub(crate) expression: String,
    /// Of which row: its columns as a JSON object.
    pub(crate) row: String,
    /// Why.
    pub(crate) message: String,
    /// How often more, or less, than before.
    pub(crate) diff: i64,
}

impl Out {
    /// Gives changes out, unless there are none.
    pub(crate) fn rows(&mut self, changes: ChangeBatch) {
        if !changes.is_empty() {
            self.rows.push(changes);
        }
    }
}

/// The rows that an emitted batch has at most, about.
pub(crate) const EMIT_ROWS: usize = 32_768;

/// The bytes without fixed width that a part of a join's result has at most, unless one row has more. A column of texts
/// holds 2 GiB.
pub(crate) const EMIT_BYTES: usize = 64 << 20;

/// An operator of a view.
pub(crate) enum Operator {
    Constant(Constant),
    Unnest(Unnest),
    Aggregate(Box<Aggregate>),
    Set(Set),
    TopK(TopK),
    Window(Box<Window>),
    Single(Single),
}

impl Operator {
    /// Builds the operator of a plan's node, its inputs apart.
    pub(crate) fn new(node: &Node, options: AggregateOptions) -> Result<Self, BuildError> {
        Ok(match node {
            Node::Aggregate { input, group, aggregates, schema } => {
                let input = input.schema();
                let aggregate = Aggregate::new(&input, group, aggregates, schema, options)?;
                Self::Aggregate(Box::new(aggregate))
            }
            Node::Distinct { input } => Self::Set(Set::new(&input.schema(), Rule::Distinct)?),
            Node::SetOperation { operation, all, schema, .. } => {
                let (operation, all) = (*operation, *all);
                Self::Set(Set::new(schema, Rule::Operation { operation, all })?)
            }
            Node::TopK { input, partition, order, offset, limit } => {
                Self::TopK(TopK::new(&input.schema(), partition, order, (*offset, *limit))?)
            }
            Node::Window { input, partition, order, calls, schema } => Self::Window(Box::new(
                Window::new(&input.schema(), partition, order, calls, schema)?,
            )),
            Node::Single { input, key } => Self::Single(Single::new(&input.schema(), key)?),
            Node::Constant { rows } => Self::Constant(Constant::new(rows)),
            Node::Unnest { input, lists, schema } => {
                Self::Unnest(Unnest::new(&input.schema(), lists, schema)?)
            }
            Node::Table { .. }
            | Node::Filter { .. }
            | Node::Project { .. }
            | Node::Join { .. }
            | Node::Union { .. } => unreachable!("the graph has its own stages for them"),
        })
    }

    /// Takes changes in at an input, and emits what follows from them at once.
    pub(crate) fn push(
        &mut self,
        input: usize,
        changes: &ChangeBatch,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        match self {
            Self::Constant(_) => out.rows(changes.clone()),
            Self::Unnest(unnest) => unnest.push(changes, out)?,
            Self::Aggregate(aggregate) => aggregate.push(changes)?,
            Self::TopK(topk) => topk.push(changes)?.into_iter().for_each(|rows| out.rows(rows)),
            Self::Set(set) => set.push(input, changes)?,
            Self::Window(window) => window.push(changes)?,
            Self::Single(single) => single.push(changes)?,
        }
        Ok(())
    }

    /// Ends the step: emits what had to wait for its end, or a part of it; returns whether there is more.
    pub(crate) fn finish(&mut self, state: &State, out: &mut Out) -> Result<bool, OperatorError> {
        match self {
            Self::Unnest(_) => {}
            Self::Constant(constant) => constant.finish(out)?,
            Self::Set(set) => return set.finish(out),
            Self::Window(window) => return window.finish(out),
            Self::Single(single) => single.finish(out)?,
            Self::Aggregate(aggregate) => aggregate.finish(state, out)?,
            Self::TopK(topk) => topk.finish(out)?,
        }
        Ok(false)
    }

    /// What the operator holds.
    pub(crate) fn size(&self) -> StateSize {
        match self {
            Self::Constant(_) | Self::Unnest(_) => StateSize::default(),
            Self::Set(set) => set.size(),
            Self::Window(window) => window.size(),
            Self::Single(single) => single.size(),
            Self::Aggregate(aggregate) => aggregate.size(),
            Self::TopK(topk) => topk.size(),
        }
    }

    /// The operator's name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Constant(_) => "constant",
            Self::Unnest(_) => "unnest",
            Self::Aggregate(_) => "aggregate",
            Self::TopK(_) => "topk",
            Self::Set(set) => set.name(),
            Self::Window(_) => "window",
            Self::Single(_) => "single",
        }
    }
}
