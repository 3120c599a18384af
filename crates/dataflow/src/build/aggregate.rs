//! How aggregates are built: over which rows, in how many phases, and whether an input of the join below them numbers
//! their groups (see `operator/numbering.rs`).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::expressions::Column;
use plan::ir::{AggregateCall, JoinKind, Node};

use super::placement::Placement;
use super::{Builder, Built, Columns, Physical, Spec, columns_of, is_unique, only_grows, selected};
use crate::arrangement::Nulls;
use crate::columns::nullable;
use crate::operator::join::Input;
use crate::operator::numbering::numbered as with_number;
use crate::operator::{AggregateOptions, BuildError, Numbered, Operator, Phase, part_schema};

/// A join below an aggregate, as the aggregate sees it.
struct Found<'a> {
    join: &'a Node,
    /// The columns of the join that make the group, in the group's order.
    group: Vec<usize>,
    /// The columns of the join that arguments are computed from.
    read: Columns,
}

/// An aggregate whose input is built.
struct Ready {
    stage: usize,
    /// The columns of the stage.
    schema: SchemaRef,
    group: Vec<usize>,
    calls: Vec<AggregateCall>,
    numbered: Option<Numbered>,
    only_grows: bool,
}

/// An aggregate as the plan has it.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) input: &'a Node,
    pub(super) group: &'a [usize],
    pub(super) calls: &'a [AggregateCall],
    pub(super) schema: &'a SchemaRef,
}

impl Wish<'_> {
    /// The columns that arguments are computed from.
    fn arguments(&self) -> Columns {
        let mut read = Columns::new();
        for call in self.calls {
            read.extend(call.argument);
            read.extend(call.filter);
            read.extend(call.order.iter().map(|key| key.column));
        }
        read
    }

    /// Whether parts of totals suffice for the results.
    fn has_parts(&self) -> Result<bool, BuildError> {
        let key = &self.schema.fields()[..self.group.len()];
        Ok(part_schema(&nullable(&self.input.schema()), self.calls, key)?.is_some())
    }
}

impl Builder<'_> {
    pub(super) fn aggregate(&mut self, wish: Wish<'_>) -> Result<Built, BuildError> {
        let Wish { input, group, calls, schema } = wish;
        let local_key = self.local_key(wish)?;
        let mut read = wish.arguments();
        if local_key.is_none() {
            read.extend(group);
        }
        let built = self.node(input, &read, local_key.is_some().then_some(group))?;
        let kept: Vec<usize> = read.into_iter().collect();
        let mut narrow = selected(&nullable(&input.schema()), &kept);
        let place = |column: usize| kept.binary_search(&column).expect("the column is read");
        let numbered = built.number.map(|(_, space)| {
            narrow = with_number(&narrow);
            Numbered { column: kept.len(), space, width: group.len() }
        });
        let mut calls = calls.to_vec();
        for call in &mut calls {
            call.argument = call.argument.map(place);
            call.filter = call.filter.map(place);
            call.order.iter_mut().for_each(|key| key.column = place(key.column));
        }
        let grouped = match numbered {
            Some(_) => Vec::new(),
            None => group.iter().map(|&column| place(column)).collect(),
        };
        let ready = Ready {
            stage: self.select(&built, &kept, &narrow),
            schema: narrow,
            group: grouped,
            calls,
            numbered,
            only_grows: only_grows(input, self.options),
        };
        let has_peers = self.options.workers > 1;
        let is_apart = local_key.as_ref().map_or(group.is_empty(), Vec::is_empty);
        let stage = if has_peers && is_apart && wish.has_parts()? {
            self.in_two_phases(ready, schema)?
        } else {
            let stage = match numbered {
                Some(_) => ready.stage,
                None => self.together(ready.stage, &ready.group, false),
            };
            let placement = local_key.map(|key| Placement::Hashed(vec![key]));
            self.one_phase(Ready { stage, ..ready }, schema, placement)?
        };
        Ok(Built::new(stage, (0..schema.fields().len()).collect()))
    }

    fn one_phase(
        &mut self,
        ready: Ready,
        schema: &SchemaRef,
        placement: Option<Placement>,
    ) -> Result<usize, BuildError> {
        let Ready { stage, numbered, only_grows, .. } = ready;
        let options = AggregateOptions { only_grows, numbered, phase: Phase::Single };
        let node = ready.node(schema);
        Operator::new(&node, options)?;
        let spec = Spec::Operator { inputs: vec![stage], node: Box::new(node), options, placement };
        Ok(self.add(spec, nullable(schema)))
    }

    /// Each worker adds up what it has; what it found goes to the worker that the group belongs to.
    fn in_two_phases(&mut self, ready: Ready, schema: &SchemaRef) -> Result<usize, BuildError> {
        let Ready { stage, numbered, only_grows, .. } = ready;
        let width = numbered.map_or(ready.group.len(), |numbered| numbered.width);
        let key = &schema.fields()[..width];
        let parts = part_schema(&ready.schema, &ready.calls, key)?.expect("the caller has asked");
        let options = AggregateOptions { only_grows, numbered, phase: Phase::Partial };
        let node = ready.node(schema);
        Operator::new(&node, options)?;
        let placement = Some(Placement::ANYWHERE);
        let spec = Spec::Operator { inputs: vec![stage], node: Box::new(node), options, placement };
        let stage = self.add(spec, parts);
        let key: Vec<usize> = (0..width).collect();
        let stage = self.together(stage, &key, false);
        let placement = Some(Placement::of(&key));
        let options = AggregateOptions { only_grows, numbered: None, phase: Phase::Final };
        let node = Ready { group: key, ..ready }.node(schema);
        let spec = Spec::Operator { inputs: vec![stage], node: Box::new(node), options, placement };
        Ok(self.add(spec, nullable(schema)))
    }

    /// Whether it pays to number an aggregate's groups below the join under it, because all of the key is known by one
    /// input, of which each row may meet many of the other. Returns the places in the key whose values say at which
    /// worker the rows are; none when they are anywhere.
    ///
    /// A number is known to one worker only. So when there are several, and a group is not at one of them, its totals
    /// must be able to be found in two phases.
    fn local_key(&self, wish: Wish<'_>) -> Result<Option<Vec<usize>>, BuildError> {
        let found = Found { join: wish.input, group: wish.group.to_vec(), read: wish.arguments() };
        let Some(Found { join, group, read }) = down_to_join(found) else { return Ok(None) };
        let Node::Join { left, right, on, .. } = join else { return Ok(None) };
        let Some(side) = side_of(join, &group) else { return Ok(None) };
        let width = left.schema().fields().len();
        let (node, key, offset): (&Node, Vec<usize>, usize) = match side {
            Input::Left => (left, on.iter().map(|&(left, _)| left).collect(), 0),
            Input::Right => (right, on.iter().map(|&(_, right)| right).collect(), width),
        };
        let is_mine = |column: &usize| (*column < width) == (side == Input::Left);
        let meets_many = is_unique(node, &key) || !read.is_empty() && !read.iter().any(is_mine);
        if key.is_empty() || !meets_many {
            return Ok(None);
        }
        let place = |column: &usize| group.iter().position(|other| *other == column + offset);
        let local: Option<Vec<usize>> = key.iter().map(place).collect();
        if self.options.workers > 1 && local.is_none() && !wish.has_parts()? {
            return Ok(None);
        }
        Ok(Some(local.unwrap_or_default()))
    }

    /// Whether the numbering of columns can pass below a node.
    pub(super) fn passes_below(&self, node: &Node, columns: &[usize]) -> bool {
        let found = Found { join: node, group: columns.to_vec(), read: Columns::new() };
        down_to_join(found).is_some_and(|found| side_of(found.join, &found.group).is_some())
    }

    /// Numbers the groups that columns of a built node make.
    pub(super) fn number(&mut self, built: Built, columns: &[usize]) -> Result<Built, BuildError> {
        let Built { stage, columns: places, .. } = built;
        let columns: Vec<usize> = columns.iter().map(|&column| places[column]).collect();
        let schema = &self.schemas[stage];
        let types: Vec<DataType> =
            columns.iter().map(|&column| schema.field(column).data_type().clone()).collect();
        let (column, schema) = (schema.fields().len(), with_number(schema));
        let space = self.spaces.len();
        let spec = Spec::Number { input: stage, columns, space };
        let stage = self.add(spec, schema);
        let Spec::Number { space, .. } = self.specs[stage] else {
            unreachable!("a numbering is the same as another one only");
        };
        if space == self.spaces.len() {
            self.spaces.push((types, Nulls::Equal));
        }
        Ok(Built { stage, columns: places, number: Some((column, space)) })
    }
}

impl Ready {
    /// The node of the operator; its input says only what columns there are.
    fn node(&self, schema: &SchemaRef) -> Node {
        Node::Aggregate {
            input: Box::new(Node::Constant {
                rows: RecordBatch::new_empty(Arc::clone(&self.schema)),
            }),
            group: self.group.clone(),
            aggregates: self.calls.clone(),
            schema: Arc::clone(schema),
        }
    }
}

/// The input of a join that knows all the columns, when no row of it is ever shown with NULLs instead.
pub(super) fn side_of(join: &Node, columns: &[usize]) -> Option<Input> {
    let Node::Join { left, kind, .. } = join else { return None };
    let width = left.schema().fields().len();
    let is_left = |column: &usize| *column < width;
    if columns.is_empty() {
        return None;
    }
    match kind {
        JoinKind::Inner | JoinKind::Left | JoinKind::Semi | JoinKind::Anti
            if columns.iter().all(is_left) =>
        {
            Some(Input::Left)
        }
        JoinKind::Inner | JoinKind::Right if !columns.iter().any(is_left) => Some(Input::Right),
        JoinKind::Inner
        | JoinKind::Left
        | JoinKind::Right
        | JoinKind::Full
        | JoinKind::Semi
        | JoinKind::Anti => None,
    }
}

/// The columns of a projection's input that some of its columns are, if they are no more than that.
pub(super) fn plain(expressions: &[Physical], columns: &[usize]) -> Option<Vec<usize>> {
    let plain = |&column: &usize| Some(expressions[column].downcast_ref::<Column>()?.index());
    columns.iter().map(plain).collect()
}

/// Follows a group through filters and projections to a join.
fn down_to_join(found: Found<'_>) -> Option<Found<'_>> {
    let Found { join: node, group, read } = found;
    match node {
        Node::Join { .. } => Some(Found { join: node, group, read }),
        Node::Filter { input, .. } => down_to_join(Found { join: input, group, read }),
        Node::Project { input, expressions, .. } => {
            let group = plain(expressions, &group)?;
            let read = read.iter().flat_map(|&column| columns_of(&expressions[column])).collect();
            down_to_join(Found { join: input, group, read })
        }
        Node::Table { .. }
        | Node::Constant { .. }
        | Node::Unnest { .. }
        | Node::Aggregate { .. }
        | Node::Distinct { .. }
        | Node::SetOperation { .. }
        | Node::TopK { .. }
        | Node::Window { .. }
        | Node::Single { .. }
        | Node::Union { .. } => None,
    }
}
