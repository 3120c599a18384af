//! Which stages compute the same: the same kind of work over the same inputs, with equal expressions and columns.

use plan::ir::Node;

use super::Spec;

/// Whether two stages compute the same.
pub(super) fn is_same(one: &Spec, other: &Spec) -> bool {
    match (one, other) {
        (Spec::Table { table: a, owners: c }, Spec::Table { table: b, owners: d }) => {
            a == b && c == d
        }
        (
            Spec::Filter { input: a, predicate: p, columns: c },
            Spec::Filter { input: b, predicate: q, columns: d },
        ) => a == b && p == q && c == d,
        (
            Spec::Project { input: a, expressions: p },
            Spec::Project { input: b, expressions: q },
        ) => a == b && p == q,
        (Spec::Select { input: a, columns: c }, Spec::Select { input: b, columns: d }) => {
            a == b && c == d
        }
        (Spec::Union { inputs: a }, Spec::Union { inputs: b }) => a == b,
        (Spec::Exchange { input: a, columns: c }, Spec::Exchange { input: b, columns: d }) => {
            a == b && c == d
        }
        (Spec::Join(a), Spec::Join(b)) => {
            a.kind == b.kind
                && a.left == b.left
                && a.right == b.right
                && a.output == b.output
                && a.conditions == b.conditions
        }
        (Spec::Eager(a), Spec::Eager(b)) => {
            a.inputs == b.inputs
                && a.eager == b.eager
                && a.options == b.options
                && is_same_node(&a.node, &b.node)
        }
        (Spec::Number { input: a, columns: c, .. }, Spec::Number { input: b, columns: d, .. }) => {
            a == b && c == d
        }
        (
            Spec::Operator { inputs: a, node: m, options: x, .. },
            Spec::Operator { inputs: b, node: n, options: y, .. },
        ) => a == b && x == y && is_same_node(m, n),
        (
            Spec::Table { .. }
            | Spec::Filter { .. }
            | Spec::Project { .. }
            | Spec::Select { .. }
            | Spec::Union { .. }
            | Spec::Exchange { .. }
            | Spec::Arrange { .. }
            | Spec::Join(_)
            | Spec::Eager(_)
            | Spec::Number { .. }
            | Spec::Operator { .. },
            _,
        ) => false,
    }
}

/// Whether two operators over the same inputs compute the same.
fn is_same_node(one: &Node, other: &Node) -> bool {
    match (one, other) {
        (
            Node::Aggregate { group: a, aggregates: c, .. },
            Node::Aggregate { group: b, aggregates: d, .. },
        ) => a == b && c == d,
        (Node::Distinct { .. }, Node::Distinct { .. }) => true,
        (
            Node::TopK { partition: a, order: o, offset: f, limit: l, .. },
            Node::TopK { partition: b, order: p, offset: g, limit: m, .. },
        ) => a == b && o == p && f == g && l == m,
        (
            Node::SetOperation { operation: a, all: x, .. },
            Node::SetOperation { operation: b, all: y, .. },
        ) => a == b && x == y,
        (
            Node::Window { partition: a, order: o, calls: c, .. },
            Node::Window { partition: b, order: p, calls: d, .. },
        ) => a == b && o == p && c == d,
        (Node::Single { key: a, .. }, Node::Single { key: b, .. })
        | (Node::Unnest { lists: a, .. }, Node::Unnest { lists: b, .. }) => a == b,
        (Node::Constant { rows: a }, Node::Constant { rows: b }) => a == b,
        (
            Node::Table { .. }
            | Node::Constant { .. }
            | Node::Filter { .. }
            | Node::Project { .. }
            | Node::Unnest { .. }
            | Node::Join { .. }
            | Node::Aggregate { .. }
            | Node::Distinct { .. }
            | Node::SetOperation { .. }
            | Node::TopK { .. }
            | Node::Window { .. }
            | Node::Single { .. }
            | Node::Union { .. },
            _,
        ) => false,
    }
}
