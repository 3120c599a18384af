//! Which columns tell the rows of a view apart.
//!
//! A key is a set of columns whose values no two rows share. Every operator says which keys of its inputs survive it:
//! the formula for an inner join of L and R is that a key of L is one of L⋈R when each row of L meets at most one row
//! of R, which holds when the join's columns contain a key of R; otherwise a key of L and one of R together are.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::ir::{AggregateFunction, JoinKind, Node};
use crate::limits::KEYS_MAX;

/// Columns whose values no two rows share.
pub type Key = BTreeSet<usize>;

/// The view's key: the smallest that is known, ascending; empty when none is.
pub(crate) fn key(root: &Node) -> Vec<usize> {
    // A single row is told apart by anything; a count is never NULL.
    if let Some(column) = count_of_single_row(root) {
        return vec![column];
    }
    let keys = keys(root);
    let shortest = keys.iter().map(BTreeSet::len).filter(|&length| length > 0).min();
    let first = keys.into_iter().find(|key| Some(key.len()) == shortest);
    first.map(|key| key.into_iter().collect()).unwrap_or_default()
}

/// The column that holds a count, when the node has always exactly one row.
fn count_of_single_row(node: &Node) -> Option<usize> {
    match node {
        Node::Aggregate { group, aggregates, .. } if group.is_empty() => {
            aggregates.iter().position(|call| call.function == AggregateFunction::Count)
        }
        Node::Project { input, expressions, .. } => {
            let count = count_of_single_row(input)?;
            expressions.iter().position(|expression| column_of(expression) == Some(count))
        }
        Node::Filter { input, .. } => count_of_single_row(input),
        Node::Table { .. }
        | Node::Constant { .. }
        | Node::Unnest { .. }
        | Node::Join { .. }
        | Node::Aggregate { .. }
        | Node::Distinct { .. }
        | Node::SetOperation { .. }
        | Node::TopK { .. }
        | Node::Window { .. }
        | Node::Single { .. }
        | Node::Union { .. } => None,
    }
}

fn column_of(expression: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expression.downcast_ref::<Column>().map(Column::index)
}

/// The argument of a function of one.
fn argument_of<'e>(
    expression: &'e Arc<dyn PhysicalExpr>,
    name: &str,
) -> Option<&'e Arc<dyn PhysicalExpr>> {
    let call = expression.downcast_ref::<ScalarFunctionExpr>()?;
    call.args().first().filter(|_| call.fun().name() == name)
}

/// The column that tells groups of intervals apart, their length, when an expression is the interval that stands for a
/// group: see [`spans`](crate::spans).
fn interval_of_group(expression: &Arc<dyn PhysicalExpr>, input: &Node) -> Option<usize> {
    let shown = column_of(argument_of(expression, "interval_of")?)?;
    let mut groups = input;
    while let Node::Filter { input, .. } = groups {
        groups = input;
    }
    let Node::Aggregate { input, group, aggregates, .. } = groups else { return None };
    let call = aggregates.get(shown.checked_sub(group.len())?)?;
    // One that looks at some rows of a group only, or makes another value of them, may give the same for many groups.
    let is_one = matches!(call.function, AggregateFunction::Min | AggregateFunction::Max);
    let argument = call.argument.filter(|_| is_one && call.filter.is_none())?;
    let Node::Project { expressions, .. } = input.as_ref() else { return None };
    let interval = argument_of(&expressions[argument], "interval_key")?;
    group.iter().position(|&column| {
        argument_of(&expressions[column], "interval_span")
            .is_some_and(|grouped| grouped.as_ref() == interval.as_ref())
    })
}

/// All known keys, those of the left side of joins first. A key of no columns means that there is at most one row.
#[must_use]
pub fn keys(node: &Node) -> Vec<Key> {
    let mut keys = match node {
        Node::Table { table, columns, .. } => {
            let position = |key: &usize| columns.iter().position(|column| column == key);
            let key: Option<Key> = table.key().iter().map(position).collect();
            key.filter(|key| !key.is_empty()).into_iter().collect()
        }
        Node::Filter { input, .. } | Node::Window { input, .. } => keys(input),
        Node::TopK { input, partition, limit, .. } => {
            let first = (*limit == Some(1)).then(|| partition.iter().copied().collect());
            let mut known = keys(input);
            known.extend(first);
            known
        }
        Node::Single { input, key } => {
            let mut known = vec![key.iter().copied().collect()];
            known.extend(keys(input));
            known
        }
        Node::SetOperation { left, all, .. } => {
            let mut known = keys(left);
            if !all {
                known.push((0..left.schema().fields().len()).collect());
            }
            known
        }
        Node::Project { input, expressions, .. } => {
            let position = |column: &usize| {
                let is_it = |expression: &Arc<dyn PhysicalExpr>| {
                    column_of(expression) == Some(*column)
                        || interval_of_group(expression, input) == Some(*column)
                };
                expressions.iter().position(is_it)
            };
            keys(input).iter().filter_map(|key| key.iter().map(position).collect()).collect()
        }
        Node::Join { left, right, kind, on, .. } => join_keys(left, right, *kind, on),
        Node::Aggregate { input, group, .. } => {
            let position = |column: &usize| group.iter().position(|grouped| grouped == column);
            let kept = keys(input);
            let kept = kept.iter().filter_map(|key| key.iter().map(position).collect());
            kept.chain([(0..group.len()).collect()]).collect()
        }
        Node::Distinct { input } => {
            let mut known = keys(input);
            known.push((0..input.schema().fields().len()).collect());
            known
        }
        Node::Constant { .. } | Node::Unnest { .. } | Node::Union { .. } => Vec::new(),
    };
    let mut seen = BTreeSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    keys.truncate(KEYS_MAX);
    keys
}

fn join_keys(left: &Node, right: &Node, kind: JoinKind, on: &[(usize, usize)]) -> Vec<Key> {
    if matches!(kind, JoinKind::Semi | JoinKind::Anti) {
        return keys(left);
    }
    let offset = left.schema().fields().len();
    let (left_keys, right_keys) = (keys(left), keys(right));
    let contains = |columns: &Key, key: &Key| !key.is_empty() && key.is_subset(columns);
    let left_on: Key = on.iter().map(|(column, _)| *column).collect();
    let right_on: Key = on.iter().map(|(_, column)| *column).collect();
    let shifted = |key: &Key| key.iter().map(|column| column + offset).collect::<Key>();
    let mut result = Vec::new();
    // A row without a match has NULLs for the other side's key, so a key serves only where its side is whole.
    let left_is_whole = matches!(kind, JoinKind::Inner | JoinKind::Left);
    let right_is_whole = matches!(kind, JoinKind::Inner | JoinKind::Right);
    if left_is_whole && right_keys.iter().any(|key| contains(&right_on, key)) {
        result.extend(left_keys.iter().cloned());
    }
    if right_is_whole && left_keys.iter().any(|key| contains(&left_on, key)) {
        result.extend(right_keys.iter().map(shifted));
    }
    // Of a full join, a row of each side may stand alone with NULLs in both keys.
    if kind == JoinKind::Full {
        return Vec::new();
    }
    for left_key in &left_keys {
        for right_key in &right_keys {
            // A right column that equals a column of the left key says nothing new.
            let is_new = |column: &&usize| {
                kind != JoinKind::Inner
                    || !on.iter().any(|(l, r)| r == *column && left_key.contains(l))
            };
            let right_part = right_key.iter().filter(is_new).map(|column| column + offset);
            result.push(left_key.iter().copied().chain(right_part).collect());
        }
    }
    if kind == JoinKind::Inner {
        for index in 0..result.len().min(KEYS_MAX) {
            result.extend(equal_keys(&result[index], on, offset));
        }
    }
    result
}

/// The same key with columns of the other side that are equal in every row of an inner join.
fn equal_keys(key: &Key, on: &[(usize, usize)], offset: usize) -> Vec<Key> {
    let pairs = on.iter().flat_map(|(l, r)| [(*l, r + offset), (r + offset, *l)]);
    pairs
        .filter(|(from, _)| key.contains(from))
        .map(|(from, to)| {
            key.iter().map(|column| if *column == from { to } else { *column }).collect()
        })
        .collect()
}
