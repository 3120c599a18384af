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

impl Pairs<'_> {
    /// Finds a join that can be folded.
    pub(super) fn of<'a>(
        wish: Wish<'a>,
        options: &DataflowOptions,
    ) -> Result<Option<Pairs<'a>>, BuildError> {
        let Some(pairs) = down_to_join(wish) else { return Ok(None) };
        let Node::Join { left, right, kind: JoinKind::Inner, on, filter: None, .. } = pairs.join
        else {
            return Ok(None);
        };
        let width = left.schema().fields().len();
        let is_left = |column: usize| column < width;
        let is_folded = |column: &usize| is_left(*column) == (pairs.folded == Input::Left);
        let (lefts, rights): (Vec<usize>, Vec<usize>) = on.iter().copied().unzip();
        let (folded, other, key): (&Node, &Node, _) = match pairs.folded {
            Input::Left => (left, right, rights),
            Input::Right => (right, left, lefts),
        };
        let is_better = !on.is_empty()
            && pairs.read().iter().all(is_folded)
            && !meets_one_for_ever(folded, other, &key, options);
        let words = if is_better { wish.part_words()? } else { None };
        Ok(words.is_some_and(|words| words <= WORDS_MAX).then_some(pairs))
    }

    /// The columns of the join that the calls read.
    fn read(&self) -> Columns {
        let columns = self.calls.iter().flat_map(|call| [call.argument, call.filter]);
        columns.flatten().collect()
    }
}

/// Follows an aggregate through projections to a join.
fn down_to_join(wish: Wish<'_>) -> Option<Pairs<'_>> {
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
        let width = left.schema().fields().len();
        let (lefts, rights): (Vec<usize>, Vec<usize>) = on.iter().copied().unzip();
        let types = key_types(left, right, on)?;
        let all: Vec<usize> = pairs.read().into_iter().collect();
        let side = |from: usize, columns: &[usize]| -> Vec<usize> {
            columns.iter().map(|&column| column - from).collect()
        };
        let needed = |columns: &[usize], key: &[usize]| -> Columns {
            columns.iter().chain(key).copied().collect()
        };
        let (folded, folded_key, read, other, other_key, other_node): (
            Built,
            _,
            _,
            Built,
            _,
            &Node,
        );
        match pairs.folded {
            Input::Left => {
                read = all;
                folded = self.side(left, &needed(&read, &lefts), (&lefts, None))?;
                let group = side(width, &pairs.group);
                other = self.side(right, &needed(&[], &rights), (&rights, Some(group)))?;
                (folded_key, other_key, other_node) = (lefts, rights, right);
            }
            Input::Right => {
                let group = pairs.group.clone();
                other = self.side(left, &needed(&[], &lefts), (&lefts, Some(group)))?;
                read = side(width, &all);
                folded = self.side(right, &needed(&read, &rights), (&rights, None))?;
                (folded_key, other_key, other_node) = (rights, lefts, left);
            }
        }
        let (number, space) = other.number.expect("the other side's groups are numbered");
        let nulls = if *nulls_equal { Nulls::Equal } else { Nulls::Nothing };
        let unique = is_unique(other_node, &other_key);
        let (arrangement, _) =
            self.want(groups_of(&other, &other_key, (nulls, unique)), &types, None);
        let columns: Vec<usize> = read.iter().map(|&column| folded.columns[column]).collect();
        let from = if pairs.folded == Input::Left { 0 } else { width };
        let place = |column: usize| {
            let found = read.binary_search(&(column - from));
            found.expect("what a call reads is read")
        };
        let mut calls = pairs.calls;
        for call in &mut calls {
            call.argument = call.argument.map(place);
            call.filter = call.filter.map(place);
        }
        let source = Source::Pairs {
            inputs: [folded.stage, self.arranging(arrangement)],
            eager: EagerOptions {
                key: folded_key.iter().map(|&column| folded.columns[column]).collect(),
                read: columns.clone(),
                arrangement,
                number,
            },
        };
        Ok(Ready {
            source,
            schema: selected(&self.schemas[folded.stage], &columns),
            group: Vec::new(),
            calls,
            numbered: Some(Numbered { column: columns.len(), space, width: pairs.group.len() }),
            only_grows: only_grows(pairs.join, self.options),
        })
    }
}

/// An arrangement that keeps, of each row, the number of its group.
fn groups_of(other: &Built, key: &[usize], (nulls, unique): (Nulls, bool)) -> Wanted {
    let (number, _) = other.number.expect("the other side's groups are numbered");
    Wanted {
        input: other.stage,
        key: key.iter().map(|&column| other.columns[column]).collect(),
        space: usize::MAX,
        nulls,
        options: RowsOptions { unique, has_matches: false },
        is_private: false,
        payload: Columns::from([number]),
        bands: Vec::new(),
    }
}
