//! When a join and the aggregate above it become one: see `operator/eager.rs`.
//!
//! What is summed must be columns of one side, and the group columns of the other, which numbers it. Nothing but
//! projections that choose columns may lie between, and the join must be an inner one without further conditions.
//! Where no row ever goes and each folded row meets one other, a plain join is better: it forgets the rows that met.

use arrow::datatypes::SchemaRef;
use plan::ir::{AggregateCall, JoinKind, Node};

use super::aggregate::{Ready, Source, Wish, plain, side_of};
use super::join::{key_types, meets_one_for_ever};
use super::placement::Placement;
use super::{Builder, Built, Columns, Wanted, is_unique, only_grows, selected};
use crate::DataflowOptions;
use crate::arrangement::{Nulls, RowsOptions};
use crate::operator::eager::{Eager, EagerOptions, WORDS_MAX};
use crate::operator::join::Input;
use crate::operator::{AggregateOptions, BuildError, Numbered, Operator};
use crate::stat::PlanNode;

/// An eager aggregate.
#[derive(Clone)]
pub(super) struct EagerSpec {
    /// The folded rows' stage, and the one that keeps the other side's arrangement.
    pub(super) inputs: [usize; 2],
    pub(super) eager: EagerOptions,
    pub(super) node: Node,
    pub(super) options: AggregateOptions,
    pub(super) placement: Placement,
}

impl EagerSpec {
    pub(super) fn make(&self) -> Result<Eager, BuildError> {
        match Operator::new(&self.node, self.options)? {
            Operator::Aggregate(aggregate) => Ok(Eager::new(self.eager.clone(), aggregate)),
            Operator::Constant(_)
            | Operator::Unnest(_)
            | Operator::Set(_)
            | Operator::TopK(_)
            | Operator::Window(_)
            | Operator::Single(_) => unreachable!("the node is an aggregate"),
        }
    }
}

/// An aggregate over a join of which one side can be folded.
pub(super) struct Pairs<'a> {
    join: &'a Node,
    /// How many projections lie between.
    between: usize,
    /// The folded side.
    folded: Input,
    /// The columns of the join that make the group.
    group: Vec<usize>,
    /// The calls, over columns of the join.
    calls: Vec<AggregateCall>,
}

/// A side of the join.
struct Half<'a> {
    node: &'a Node,
    key: Vec<usize>,
    /// Where its columns begin among those of the join.
    from: usize,
}

impl Half<'_> {
    /// Whether a column of the join is one of its own.
    fn has(&self, column: usize) -> bool {
        column >= self.from && column - self.from < self.node.schema().fields().len()
    }

    /// Columns of the join as its own.
    fn own(&self, columns: impl IntoIterator<Item = usize>) -> Vec<usize> {
        columns.into_iter().map(|column| column - self.from).collect()
    }
}

impl<'a> Pairs<'a> {
    /// Finds a join that can be folded.
    pub(super) fn of(
        wish: Wish<'a>,
        options: &DataflowOptions,
    ) -> Result<Option<Self>, BuildError> {
        let Some(pairs) = plain_join_below(wish) else { return Ok(None) };
        if !matches!(pairs.join, Node::Join { kind: JoinKind::Inner, filter: None, .. }) {
            return Ok(None);
        }
        let (folded, other) = pairs.halves();
        let is_better = pairs.read().iter().all(|&column| folded.has(column))
            && !meets_one_for_ever(folded.node, other.node, &other.key, options);
        let words = if is_better { wish.part_words()? } else { None };
        Ok(words.is_some_and(|words| words <= WORDS_MAX).then_some(pairs))
    }

    /// The folded side, and the other one.
    fn halves(&self) -> (Half<'a>, Half<'a>) {
        let Node::Join { left, right, on, .. } = self.join else {
            unreachable!("pairs are those of a join");
        };
        let (lefts, rights): (Vec<usize>, Vec<usize>) = on.iter().copied().unzip();
        let width = left.schema().fields().len();
        let (left, right) = (
            Half { node: left, key: lefts, from: 0 },
            Half { node: right, key: rights, from: width },
        );
        match self.folded {
            Input::Left => (left, right),
            Input::Right => (right, left),
        }
    }

    /// The columns of the join that the calls read.
    fn read(&self) -> Columns {
        let columns = self.calls.iter().flat_map(|call| [call.argument, call.filter]);
        columns.flatten().collect()
    }
}

/// Follows an aggregate through projections that only choose columns to a join.
fn plain_join_below(wish: Wish<'_>) -> Option<Pairs<'_>> {
    let (mut node, mut between) = (wish.input, 0);
    let (mut group, mut calls) = (wish.group.to_vec(), wish.calls.to_vec());
    while let Node::Project { input, expressions, .. } = node {
        let moved = |column: Option<usize>| match column {
            Some(column) => plain(expressions, &[column]).map(|columns| Some(columns[0])),
            None => Some(None),
        };
        group = plain(expressions, &group)?;
        for call in &mut calls {
            (call.argument, call.filter) = (moved(call.argument)?, moved(call.filter)?);
        }
        (node, between) = (input, between + 1);
    }
    let folded = side_of(node, &group)?.other();
    Some(Pairs { join: node, between, folded, group, calls })
}

impl Builder<'_> {
    /// Builds an aggregate over pairs. `local_key` is what [`Builder::local_key`] says.
    pub(super) fn eager(
        &mut self,
        pairs: Pairs<'_>,
        local_key: Vec<usize>,
        schema: &SchemaRef,
    ) -> Result<Built, BuildError> {
        let (before, between) = (self.asked.len(), pairs.between);
        let ready = self.sides_of_pairs(pairs)?;
        let below: Vec<usize> = self.asked.drain(before..).collect();
        let (join, view) = (self.built, self.views.len());
        self.built += 1 + between;
        let stage = self.phases(ready, Some(local_key), schema)?;
        let eager = self.asked[before];
        for stage in below {
            self.nodes[stage].insert(PlanNode { view, node: join });
        }
        // The join and the projections above it are no stages of their own.
        self.nodes[eager].extend((join..=join + between).map(|node| PlanNode { view, node }));
        Ok(Built::new(stage, (0..schema.fields().len()).collect()))
    }

    /// Builds the sides of a join that is folded, and says what is to be summed.
    fn sides_of_pairs(&mut self, pairs: Pairs<'_>) -> Result<Ready, BuildError> {
        let Node::Join { left, right, on, nulls_equal, .. } = pairs.join else {
            unreachable!("pairs are those of a join");
        };
        let types = key_types(left, right, on)?;
        let (folding, numbering) = pairs.halves();
        let read = folding.own(pairs.read());
        let group = numbering.own(pairs.group.iter().copied());
        let width = group.len();
        // The nodes of the plan are counted from left to right.
        let (folded, other) = match pairs.folded {
            Input::Left => {
                let folded = self.folded_side(&folding, &read)?;
                (folded, self.numbered_side(&numbering, group)?)
            }
            Input::Right => {
                let other = self.numbered_side(&numbering, group)?;
                (self.folded_side(&folding, &read)?, other)
            }
        };
        let (number, space) = other.number.expect("the other side's groups are numbered");
        let wanted = Wanted {
            input: other.stage,
            key: numbering.key.iter().map(|&column| other.columns[column]).collect(),
            space: usize::MAX,
            nulls: if *nulls_equal { Nulls::Equal } else { Nulls::Nothing },
            options: RowsOptions {
                unique: is_unique(numbering.node, &numbering.key),
                has_matches: false,
            },
            is_private: false,
            payload: Columns::from([number]),
            bands: Vec::new(),
        };
        let (arrangement, _) = self.want(wanted, &types, None);
        let columns: Vec<usize> = read.iter().map(|&column| folded.columns[column]).collect();
        let place = |column: usize| {
            read.binary_search(&(column - folding.from)).expect("what a call reads is read")
        };
        let mut calls = pairs.calls;
        for call in &mut calls {
            call.argument = call.argument.map(place);
            call.filter = call.filter.map(place);
        }
        let eager = EagerOptions {
            key: folding.key.iter().map(|&column| folded.columns[column]).collect(),
            read: columns.clone(),
            arrangement,
            number,
        };
        Ok(Ready {
            source: Source::Pairs { inputs: [folded.stage, self.arranging(arrangement)], eager },
            schema: selected(&self.schemas[folded.stage], &columns),
            group: Vec::new(),
            calls,
            numbered: Some(Numbered { column: columns.len(), space, width }),
            only_grows: only_grows(pairs.join, self.options),
        })
    }

    fn folded_side(&mut self, half: &Half<'_>, read: &[usize]) -> Result<Built, BuildError> {
        let needed = half.key.iter().chain(read).copied().collect();
        self.side(half.node, &needed, (&half.key, None))
    }

    fn numbered_side(&mut self, half: &Half<'_>, group: Vec<usize>) -> Result<Built, BuildError> {
        let needed = half.key.iter().copied().collect();
        self.side(half.node, &needed, (&half.key, Some(group)))
    }
}
