//! Which part of a join's condition bounds the one side by the other.
//!
//! Of the comparisons that a pair must meet, one whose lesser side is the left input's and one whose lesser side is the
//! right's can be answered from trees of intervals (see [`band`](crate::operator::band)). Which of several would leave
//! the fewest pairs is not known; two that bound the same expression from both sides are a band, and mostly meant as
//! one, so they go first, and otherwise the first of each kind. They are asked before all others: then a pair that the
//! trees leave out is one for which nothing else is computed, and so cannot fail.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::BinaryExpr;

use super::{Physical, columns_of};
use crate::operator::band::{Strictness, is_exact};

/// A condition, with what bounds the sides of it.
pub(super) struct Bounds {
    /// What is asked of a pair first, and what after that.
    pub(super) conditions: Vec<Physical>,
    /// The ends of a left row's interval, and of a right row's, as expressions over the columns of a pair.
    pub(super) left: (Option<Physical>, Option<Physical>),
    pub(super) right: (Option<Physical>, Option<Physical>),
    /// How intervals of the left, and of the right, must meet the other's.
    pub(super) strictness: [Strictness; 2],
}

/// A part of a condition that compares the sides.
struct Comparison {
    /// Its place among the parts.
    at: usize,
    lesser: Physical,
    greater: Physical,
    is_left_lesser: bool,
    is_strict: bool,
}

/// Finds what bounds the sides of a join in a condition over the columns of a pair, of which the first `width` are the
/// left's; `None` when nothing does.
pub(super) fn bounds(condition: &Physical, pair: &SchemaRef, width: usize) -> Option<Bounds> {
    let mut parts = Vec::new();
    take_apart(condition, &mut parts);
    let comparisons: Vec<Comparison> = parts
        .iter()
        .enumerate()
        .filter_map(|(at, part)| comparison(part, at, (pair, width)))
        .collect();
    let of = |is_left: bool| comparisons.iter().filter(move |one| one.is_left_lesser == is_left);
    let both = of(true).flat_map(|one| of(false).map(move |other| (one, other)));
    let band = both
        .into_iter()
        .find(|(one, other)| one.lesser.eq(&other.greater) || one.greater.eq(&other.lesser));
    let (from_left, from_right) = match band {
        Some((one, other)) => (Some(one), Some(other)),
        None => (of(true).next(), of(false).next()),
    };
    let chosen: Vec<usize> =
        [from_left, from_right].into_iter().flatten().map(|one| one.at).collect();
    if chosen.is_empty() {
        return None;
    }
    let (first, rest): (Vec<_>, Vec<_>) =
        parts.into_iter().enumerate().partition(|(at, _)| chosen.contains(at));
    let together = |parts: Vec<(usize, Physical)>| {
        parts.into_iter().map(|(_, part)| part).reduce(|one, other| -> Physical {
            Arc::new(BinaryExpr::new(one, Operator::And, other))
        })
    };
    let lesser = |one: Option<&Comparison>| one.map(|one| Arc::clone(&one.lesser));
    let greater = |one: Option<&Comparison>| one.map(|one| Arc::clone(&one.greater));
    let is_strict = |one: Option<&Comparison>| one.is_some_and(|one| one.is_strict);
    let (left, right) = (is_strict(from_left), is_strict(from_right));
    Some(Bounds {
        conditions: [together(first), together(rest)].into_iter().flatten().collect(),
        left: (lesser(from_left), greater(from_right)),
        right: (lesser(from_right), greater(from_left)),
        strictness: [Strictness { low: left, high: right }, Strictness { low: right, high: left }],
    })
}

/// The parts of a condition that must all be true.
fn take_apart(condition: &Physical, parts: &mut Vec<Physical>) {
    match condition.downcast_ref::<BinaryExpr>() {
        Some(binary) if *binary.op() == Operator::And => {
            take_apart(binary.left(), parts);
            take_apart(binary.right(), parts);
        }
        Some(_) | None => parts.push(Arc::clone(condition)),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "DataFusion has 50 operators")]
fn comparison(part: &Physical, at: usize, pair: (&SchemaRef, usize)) -> Option<Comparison> {
    let binary = part.downcast_ref::<BinaryExpr>()?;
    let (lesser, greater, is_strict) = match binary.op() {
        Operator::Lt => (binary.left(), binary.right(), true),
        Operator::LtEq => (binary.left(), binary.right(), false),
        Operator::Gt => (binary.right(), binary.left(), true),
        Operator::GtEq => (binary.right(), binary.left(), false),
        _ => return None,
    };
    let (schema, width) = pair;
    let (data_type, other) = (lesser.data_type(schema).ok()?, greater.data_type(schema).ok()?);
    let is_exact = is_exact(&data_type).filter(|_| data_type == other)?;
    let is_left_lesser = is_of_left(lesser, width)?;
    let is_left_greater = is_of_left(greater, width)?;
    (is_left_lesser != is_left_greater).then(|| Comparison {
        at,
        lesser: Arc::clone(lesser),
        greater: Arc::clone(greater),
        is_left_lesser,
        // Different values may have the same words: then all that begin there must be looked at.
        is_strict: is_strict && is_exact,
    })
}

/// Whether an expression reads the left's columns, or the right's; `None` when it reads both or neither.
fn is_of_left(expression: &Physical, width: usize) -> Option<bool> {
    let columns = columns_of(expression);
    let is_left = *columns.first()? < width;
    columns.iter().all(|&column| (column < width) == is_left).then_some(is_left)
}
