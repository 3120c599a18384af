//! Placement: where a stage's rows are when there are several workers, and where an exchange must stand.

use std::sync::Arc;

use datafusion::physical_expr::expressions::Column;
use plan::ir::{JoinKind, Node};

use super::aggregate::plain;
use super::{Builder, JoinSpec, Physical, Spec};
use crate::operator::join::PairColumn;

/// Where a stage's rows are, when there are several workers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Placement {
    /// Anywhere, or, for each list of columns, where the hash of their values says.
    Hashed(Vec<Vec<usize>>),
    /// All at the first worker.
    First,
}

impl Placement {
    pub(super) const ANYWHERE: Self = Self::Hashed(Vec::new());

    /// Where the hash of columns says; without columns, at the first worker.
    pub(super) fn of(columns: &[usize]) -> Self {
        if columns.is_empty() { Self::First } else { Self::Hashed(vec![columns.to_vec()]) }
    }

    /// The placement seen through columns that are moved: `place` says where a column is now, if it is there.
    fn moved(&self, place: impl Fn(usize) -> Option<usize>) -> Self {
        match self {
            Self::First => Self::First,
            Self::Hashed(lists) => {
                let moved = |list: &Vec<usize>| list.iter().map(|&column| place(column)).collect();
                Self::Hashed(lists.iter().filter_map(moved).collect())
            }
        }
    }
}

impl Builder<'_> {
    /// Sees to it that rows with equal values in the columns are at the same worker: at the one that the hash of just
    /// these columns names when another stage is placed alike (`exactly`).
    pub(super) fn together(&mut self, stage: usize, columns: &[usize], exactly: bool) -> usize {
        if self.options.workers <= 1 {
            return stage;
        }
        let is_there = match &self.placements[stage] {
            Placement::First => !exactly || columns.is_empty(),
            Placement::Hashed(lists) => lists.iter().any(|list| match exactly {
                true => list == columns && !list.is_empty(),
                false => !list.is_empty() && list.iter().all(|column| columns.contains(column)),
            }),
        };
        if is_there {
            return stage;
        }
        if let Some(stage) = self.taken(stage, columns) {
            return stage;
        }
        let schema = Arc::clone(&self.schemas[stage]);
        self.add(Spec::Exchange { input: stage, columns: columns.to_vec() }, schema)
    }

    /// The same stage over a table of which each worker takes just the rows that the hash of the columns gives to it: all
    /// workers are handed the whole table, so nothing needs to be sent. `None` when other stages lie between.
    fn taken(&mut self, stage: usize, columns: &[usize]) -> Option<usize> {
        let spec = match self.specs[stage].clone() {
            Spec::Table { table, owners: None } => {
                Spec::Table { table, owners: Some(columns.to_vec()) }
            }
            Spec::Filter { input, predicate, columns: kept } => {
                let input = self.taken(input, &pick(&kept, columns))?;
                Spec::Filter { input, predicate, columns: kept }
            }
            Spec::Select { input, columns: kept } => {
                let input = self.taken(input, &pick(&kept, columns))?;
                Spec::Select { input, columns: kept }
            }
            Spec::Project { input, expressions } => {
                let input = self.taken(input, &plain(&expressions, columns)?)?;
                Spec::Project { input, expressions }
            }
            Spec::Table { owners: Some(_), .. }
            | Spec::Union { .. }
            | Spec::Exchange { .. }
            | Spec::Arrange { .. }
            | Spec::Join(_)
            | Spec::Eager(_)
            | Spec::Number { .. }
            | Spec::Operator { .. } => return None,
        };
        let schema = Arc::clone(&self.schemas[stage]);
        Some(self.add(spec, schema))
    }

    /// Where a stage's rows will be.
    pub(super) fn placement(&self, spec: &Spec) -> Placement {
        let of = |stage: usize| &self.placements[stage];
        let position =
            |columns: &[usize], column| columns.iter().position(|&other| other == column);
        match spec {
            Spec::Table { owners: Some(columns), .. } => Placement::of(columns),
            Spec::Table { owners: None, .. } => Placement::ANYWHERE,
            Spec::Filter { input, columns, .. } | Spec::Select { input, columns } => {
                of(*input).moved(|column| position(columns, column))
            }
            Spec::Project { input, expressions } => of(*input).moved(|column| {
                let is_it = |expression: &Physical| {
                    expression.downcast_ref::<Column>().is_some_and(|at| at.index() == column)
                };
                expressions.iter().position(is_it)
            }),
            Spec::Union { inputs } => match inputs.iter().all(|&at| *of(at) == Placement::First) {
                true => Placement::First,
                false => Placement::ANYWHERE,
            },
            Spec::Exchange { columns, .. } => Placement::of(columns),
            Spec::Arrange { input, .. } | Spec::Number { input, .. } => of(*input).clone(),
            Spec::Join(join) => self.join_placement(join),
            Spec::Eager(eager) => eager.placement.clone(),
            Spec::Operator { placement: Some(placement), .. } => placement.clone(),
            Spec::Operator { inputs, node, .. } => self.operator_placement(inputs, node),
        }
    }

    fn join_placement(&self, join: &JoinSpec) -> Placement {
        let position = |column: PairColumn| join.output.iter().position(|other| *other == column);
        let left = self.placements[join.left.input].moved(|at| position(PairColumn::Left(at)));
        let right = self.placements[join.right.input].moved(|at| position(PairColumn::Right(at)));
        match (left, right, join.kind) {
            (Placement::First, ..) | (_, Placement::First, _) => Placement::First,
            (Placement::Hashed(mut lists), Placement::Hashed(others), JoinKind::Inner) => {
                lists.extend(others);
                Placement::Hashed(lists)
            }
            // A NULL for a missing row is not where its hash says.
            (left, _, JoinKind::Left | JoinKind::Semi | JoinKind::Anti) => left,
            (_, right, JoinKind::Right) => right,
            (_, _, JoinKind::Full) => Placement::ANYWHERE,
        }
    }

    fn operator_placement(&self, inputs: &[usize], node: &Node) -> Placement {
        let input = || self.placements[inputs[0]].clone();
        match node {
            Node::Constant { .. } => Placement::First,
            Node::Aggregate { group, .. } => {
                input().moved(|column| group.iter().position(|&other| other == column))
            }
            Node::Unnest { lists, .. } => {
                input().moved(|column| (!lists.contains(&column)).then_some(column))
            }
            Node::Distinct { .. }
            | Node::SetOperation { .. }
            | Node::TopK { .. }
            | Node::Window { .. }
            | Node::Single { .. } => input(),
            Node::Table { .. }
            | Node::Filter { .. }
            | Node::Project { .. }
            | Node::Join { .. }
            | Node::Union { .. } => Placement::ANYWHERE,
        }
    }
}

fn pick(from: &[usize], columns: &[usize]) -> Vec<usize> {
    columns.iter().map(|&column| from[column]).collect()
}
