//! How aggregates are built: over which rows, in how many phases, and whether an input of the join below them numbers
//! their groups (see `operator/numbering.rs`).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::physical_expr::expressions::Column;
use plan::ir::{AggregateCall, JoinKind, Node};

use super::eager::{EagerSpec, Pairs};
use super::placement::Placement;
use super::{Builder, Built, Columns, Physical, Spec, columns_of, is_unique, only_grows, selected};
use crate::arrangement::Nulls;
use crate::columns::nullable;
use crate::operator::eager::EagerOptions;
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
pub(super) struct Ready {
    pub(super) source: Source,
    /// The columns that it reads.
    pub(super) schema: SchemaRef,
    pub(super) group: Vec<usize>,
    pub(super) calls: Vec<AggregateCall>,
    pub(super) numbered: Option<Numbered>,
    pub(super) only_grows: bool,
}

/// What an aggregate sums.
pub(super) enum Source {
    /// The rows of a stage.
    Rows(usize),
    /// Pairs of rows, one side of them folded.
    Pairs { inputs: [usize; 2], eager: EagerOptions },
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
        Ok(self.part_words()?.is_some())
    }

    /// How many words such parts have; `None` when they do not suffice.
    pub(super) fn part_words(&self) -> Result<Option<usize>, BuildError> {
        let parts = part_schema(&nullable(&self.input.schema()), self.calls, &[])?;
        let Some(parts) = parts else { return Ok(None) };
        let DataType::FixedSizeBinary(bytes) = parts.field(0).data_type() else {
            unreachable!("parts are words");
        };
        Ok(Some(usize::try_from(*bytes).expect("a length") / size_of::<u64>()))
    }
}

impl Builder<'_> {
    pub(super) fn aggregate(&mut self, wish: Wish<'_>) -> Result<Built, BuildError> {
        let Wish { input, group, calls, schema } = wish;
        let local_key = self.local_key(wish)?;
        if let Some(key) = &local_key
            && let Some(pairs) = Pairs::of(wish, self.options)?
        {
            return self.eager(pairs, key.clone(), schema);
        }
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
            source: Source::Rows(self.select(&built, &kept, &narrow)),
            schema: narrow,
            group: grouped,
            calls,
            numbered,
            only_grows: only_grows(input, self.options),
        };
        let stage = self.phases(ready, local_key, schema)?;
        Ok(Built::new(stage, (0..schema.fields().len()).collect()))
    }

    /// Adds the stages of an aggregate.
    pub(super) fn phases(
        &mut self,
        mut ready: Ready,
        local_key: Option<Vec<usize>>,
        schema: &SchemaRef,
    ) -> Result<usize, BuildError> {
        let is_apart = local_key.as_ref().map_or(ready.group.is_empty(), Vec::is_empty);
        if self.options.workers > 1 && is_apart && ready.parts(&[])?.is_some() {
            return self.in_two_phases(ready, schema);
        }
        if let (Source::Rows(stage), None) = (&mut ready.source, ready.numbered) {
            *stage = self.together(*stage, &ready.group, false);
        }
        let placement = local_key.map(|key| Placement::Hashed(vec![key]));
        let spec = ready.spec(schema, Phase::Single, placement)?;
        Ok(self.add(spec, nullable(schema)))
    }

    /// Each worker adds up what it has; what it found goes to the worker that the group belongs to.
    fn in_two_phases(&mut self, ready: Ready, schema: &SchemaRef) -> Result<usize, BuildError> {
        let width = ready.numbered.map_or(ready.group.len(), |numbered| numbered.width);
        let parts = ready.parts(&schema.fields()[..width])?.expect("the caller has asked");
        let spec = ready.spec(schema, Phase::Partial, Some(Placement::ANYWHERE))?;
        let stage = self.add(spec, parts);
        let group: Vec<usize> = (0..width).collect();
        let source = Source::Rows(self.together(stage, &group, false));
        let placement = Some(Placement::of(&group));
        let ready = Ready { source, group, numbered: None, ..ready };
        let spec = ready.spec(schema, Phase::Final, placement)?;
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
    /// What the first of two phases gives to the second; `None` when one phase is needed.
    fn parts(&self, key: &[FieldRef]) -> Result<Option<SchemaRef>, BuildError> {
        part_schema(&self.schema, &self.calls, key)
    }

    /// The aggregate, or a phase of it.
    fn spec(
        &self,
        schema: &SchemaRef,
        phase: Phase,
        placement: Option<Placement>,
    ) -> Result<Spec, BuildError> {
        let Self { numbered, only_grows, .. } = *self;
        let options = AggregateOptions { only_grows, numbered, phase };
        // Its input says only what columns there are.
        let rows = RecordBatch::new_empty(Arc::clone(&self.schema));
        let node = Node::Aggregate {
            input: Box::new(Node::Constant { rows }),
            group: self.group.clone(),
            aggregates: self.calls.clone(),
            schema: Arc::clone(schema),
        };
        Operator::new(&node, options)?;
        Ok(match &self.source {
            Source::Rows(stage) => {
                let (inputs, node) = (vec![*stage], Box::new(node));
                Spec::Operator { inputs, node, options, placement }
            }
            Source::Pairs { inputs, eager } => {
                let (inputs, eager) = (*inputs, eager.clone());
                let placement = placement.unwrap_or(Placement::ANYWHERE);
                Spec::Eager(Box::new(EagerSpec { inputs, eager, node, options, placement }))
            }
        })
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
