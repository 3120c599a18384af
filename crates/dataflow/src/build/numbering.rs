//! Which aggregates are given their groups' numbers by an input of the join below them: see `operator/numbering.rs`.

use arrow::datatypes::DataType;
use plan::ir::{AggregateCall, JoinKind, Node};

use super::{Built, Builder, Columns, Physical, Spec, columns_of, is_unique};
use crate::arrangement::Nulls;
use crate::operator::BuildError;
use crate::operator::join::Input;
use crate::operator::numbering::numbered;
use datafusion::physical_expr::expressions::Column;

/// A join below an aggregate, as the aggregate sees it.
struct Found<'a> {
    join: &'a Node,
    /// The columns of the join that make the group, in the group's order.
    group: Vec<usize>,
    /// The columns of the join that arguments are computed from.
    read: Columns,
}

impl Builder<'_> {
    /// Whether it pays to number an aggregate's groups below the join under it: all of its key is known by one input, of
    /// which each row may meet many of the other.
    ///
    /// A number is known to one worker only, so when there are several the group must hold the key of the join.
    pub(super) fn pays_to_number(
        &self,
        input: &Node,
        group: &[usize],
        aggregates: &[AggregateCall],
    ) -> bool {
        let mut read = Columns::new();
        for call in aggregates {
            read.extend(call.argument);
            read.extend(call.filter);
            read.extend(call.order.iter().map(|key| key.column));
        }
        let found = Found { join: input, group: group.to_vec(), read };
        let Some(Found { join, group, read }) = down_to_join(found) else {
            return false;
        };
        let Node::Join { left, right, on, .. } = join else { return false };
        let Some(side) = side_of(join, &group) else { return false };
        let width = left.schema().fields().len();
        let (node, key, offset): (&Node, Vec<usize>, usize) = match side {
            Input::Left => (left, on.iter().map(|&(left, _)| left).collect(), 0),
            Input::Right => (right, on.iter().map(|&(_, right)| right).collect(), width),
        };
        let is_mine = |column: &usize| (*column < width) == (side == Input::Left);
        let meets_many = is_unique(node, &key) || !read.is_empty() && !read.iter().any(is_mine);
        let is_local = || key.iter().all(|column| group.contains(&(column + offset)));
        meets_many && !key.is_empty() && (self.options.workers <= 1 || is_local())
    }

    /// The columns of an aggregate's key, by their place in it, whose values say where the rows of the join below are.
    pub(super) fn local_key(&self, input: &Node, group: &[usize]) -> Vec<usize> {
        let found = Found { join: input, group: group.to_vec(), read: Columns::new() };
        let Some(Found { join, group, .. }) = down_to_join(found) else { return Vec::new() };
        let Node::Join { left, on, .. } = join else { return Vec::new() };
        let width = left.schema().fields().len();
        let key = on.iter().map(|&(left, right)| match side_of(join, &group) {
            Some(Input::Left) => left,
            _ => right + width,
        });
        let place = |column| group.iter().position(|&other| other == column);
        key.filter_map(place).collect()
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
        let (column, schema) = (schema.fields().len(), numbered(schema));
        let space = self.spaces.len();
        let spec = Spec::Number { input: stage, columns, space };
        let stage = self.add(spec, schema);
        let space = match self.specs[stage] {
            Spec::Number { space, .. } => space,
            _ => unreachable!("a numbering is the same as another one only"),
        };
        if space == self.spaces.len() {
            self.spaces.push((types, Nulls::Equal));
        }
        Ok(Built { stage, columns: places, number: Some((column, space)) })
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
