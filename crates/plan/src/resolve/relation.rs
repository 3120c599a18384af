//! Tables, and how they are joined.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the syntax tree is sqlparser's; what is not named is refused"
)]

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart,
    Query, Spanned, TableAlias, TableFactor, TableWithJoins,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::{Aggregates, Parts, Resolver};
use crate::codes;
use crate::place::MarkKind;
use crate::problem::{Problem, suggest};
use crate::scope::{Column, Scope, exact, meant};
use crate::tables::{Lookup, Tables};

impl Resolver<'_> {
    /// Resolves tables that are joined; `before` are those that stand before them, which only LATERAL sees.
    pub(super) fn joined(
        &mut self,
        table: &mut TableWithJoins,
        parts: &Parts,
        before: &Scope,
    ) -> Scope {
        let mut scope = self.relation(&mut table.relation, parts, before);
        for join in &mut table.joins {
            let mut seen = before.clone();
            seen.append(scope.clone());
            let right = self.relation(&mut join.relation, parts, &seen);
            self.join_to(join, &mut scope, right);
        }
        scope
    }

    /// Joins another table to the scope.
    pub(super) fn join(&mut self, join: &mut Join, scope: &mut Scope, parts: &Parts) {
        let right = self.relation(&mut join.relation, parts, scope);
        self.join_to(join, scope, right);
    }

    fn join_to(&mut self, join: &mut Join, scope: &mut Scope, right: Scope) {
        self.refuse_same_name(&right, scope, join.relation.span());
        let span = join.relation.span();
        self.mark_join(span, join.join_operator.span());
        let lateral = is_lateral(&join.relation);
        let (constraint, shown) = match &mut join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint) => (constraint, Shown::Left),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) if !lateral => {
                (constraint, Shown::Right)
            }
            JoinOperator::FullOuter(constraint) if !lateral => (constraint, Shown::Neither),
            JoinOperator::CrossJoin(_) => {
                scope.append(right);
                return;
            }
            other => {
                let (message, help) = refused_join(other, lateral);
                self.refuse(codes::JOIN, span, message, help);
                scope.append(right);
                return;
            }
        };
        let names = match constraint {
            JoinConstraint::On(condition) => {
                scope.append(right);
                self.mark_conditions(condition);
                self.expression(condition, scope, &[], Aggregates::Refused("on"));
                return;
            }
            JoinConstraint::Using(names) => names
                .iter()
                .filter_map(|name| name.0.last()?.as_ident().cloned())
                .collect::<Vec<_>>(),
            JoinConstraint::Natural => common_names(scope, &right, span),
            JoinConstraint::None => Vec::new(),
        };
        if names.is_empty() && !scope.open && !right.open {
            let help = "add `on a.id = b.a_id`, or write `cross join`";
            self.refuse(
                codes::JOIN,
                span,
                "the join does not say which rows belong together",
                help,
            );
        }
        if shown == Shown::Neither && !names.is_empty() {
            let help = "write `on a.id = b.id`, and `coalesce(a.id, b.id)` for the column of both";
            self.refuse(codes::JOIN, span, "a full join cannot have USING", help);
        }
        *constraint = self.using(&names, scope, right, shown);
    }

    /// Writes USING as ON; the columns of the side that may be missing are merged into those of the other.
    fn using(
        &mut self,
        names: &[Ident],
        scope: &mut Scope,
        mut right: Scope,
        shown: Shown,
    ) -> JoinConstraint {
        let mut condition: Option<Expr> = None;
        for name in names {
            let one = std::slice::from_ref(name);
            let found = [scope.find(one, &self.whole), right.find(one, &self.whole)];
            let [left_column, right_column] = found.map(|found| match found {
                Ok(column) => column.cloned(),
                Err(problem) => {
                    self.problems.push(problem);
                    None
                }
            });
            let (Some(left_column), Some(right_column)) = (left_column, right_column) else {
                continue;
            };
            let (side, hidden) = match shown {
                Shown::Right => (&mut *scope, &left_column),
                Shown::Left | Shown::Neither => (&mut right, &right_column),
            };
            let merged = side
                .columns
                .iter_mut()
                .filter(|column| column.name == hidden.name && column.path == hidden.path);
            merged.for_each(|column| column.merged = true);
            let equal = Expr::BinaryOp {
                left: Box::new(left_column.expression(name.span)),
                op: BinaryOperator::Eq,
                right: Box::new(right_column.expression(name.span)),
            };
            condition = Some(match condition {
                None => equal,
                Some(before) => Expr::BinaryOp {
                    left: Box::new(before),
                    op: BinaryOperator::And,
                    right: Box::new(equal),
                },
            });
        }
        scope.append(right);
        condition.map_or(JoinConstraint::None, JoinConstraint::On)
    }

    fn refuse_same_name(&mut self, right: &Scope, left: &Scope, span: Span) {
        let twice = right
            .columns
            .iter()
            .find(|column| !column.path.is_empty() && left.has_table(&column.path));
        if let Some(column) = twice {
            let name = column.path.join(".");
            let message = format!("{name} is joined twice under the same name");
            let help = format!("name one of them: `join {name} as other on …`");
            let place = self.place(span);
            self.problems
                .push(Problem::new(codes::TABLE, place, message, "the second one").with_help(help));
        }
    }

    fn relation(&mut self, factor: &mut TableFactor, parts: &Parts, before: &Scope) -> Scope {
        let span = factor.span();
        match factor {
            TableFactor::Table { name, alias, args: None, version: None, sample: None, .. } => {
                self.table(name, alias.as_mut(), parts)
            }
            TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
                self.derived(subquery, alias, parts)
            }
            TableFactor::Derived { lateral: true, subquery, alias, sample: None } => {
                self.outer.push(before.clone());
                let scope = self.derived(subquery, alias, parts);
                self.outer.pop();
                scope
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.joined(table_with_joins, parts, before)
            }
            TableFactor::UNNEST { .. }
            | TableFactor::Table { args: Some(_), version: None, sample: None, .. }
            | TableFactor::Function { .. } => self.function_table(factor, before),
            _ => {
                let help = "read a table, a view or a subquery `(select …) as t`";
                self.refuse(codes::CLAUSE, span, "a query cannot read from this", help);
                Scope { columns: Vec::new(), open: true }
            }
        }
    }

    fn table(
        &mut self,
        name: &mut ObjectName,
        alias: Option<&mut TableAlias>,
        parts: &Parts,
    ) -> Scope {
        let span = name.span();
        let path: Vec<_> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(meant).collect();
        let part = parts.iter().rev().find(|(part, _)| path == [part.as_str()]);
        let mut columns = match part {
            Some((part, columns)) => {
                *name = ObjectName::from(vec![exact(part, span)]);
                columns.clone()
            }
            None => match self.tables.find(&path) {
                Lookup::Found(full, table) => {
                    let (key, named) = (Tables::key(&full), alias.as_ref().map(|at| &at.name));
                    let alias = named.map(meant);
                    let spans = named.map(|named| named.span).into_iter().chain([span]);
                    self.mark(MarkKind::Table { key, alias }, spans.collect::<Vec<_>>());
                    *name = ObjectName::from(vec![exact(&Tables::key(&full), span)]);
                    let fields = table.schema.fields().iter();
                    fields.map(|field| Column::new(full.clone(), field.name().clone())).collect()
                }
                Lookup::Broken => {
                    self.incomplete = true;
                    return Scope { columns: Vec::new(), open: true };
                }
                missing => {
                    self.missing_table(&path.join("."), missing, span, parts);
                    return Scope { columns: Vec::new(), open: true };
                }
            },
        };
        if let Some(alias) = alias {
            rename(alias, &mut columns);
        }
        Scope { columns, open: false }
    }

    fn missing_table(&mut self, name: &str, missing: Lookup, span: Span, parts: &Parts) {
        let place = self.place(span);
        let problem = match missing {
            Lookup::Ambiguous(full) => {
                let message = format!("{} tables are named {name}", full.len());
                Problem::new(codes::TABLE, place, message, "which one?")
                    .with_help(format!("write {}", full.join(" or ")))
            }
            Lookup::Source(tables) if tables.is_empty() => {
                let message = format!("the source {name} has no tables yet");
                Problem::new(codes::SOURCE, place, message, "nothing to read")
            }
            Lookup::Source(tables) => {
                let message = format!("the source {name} has {} tables", tables.len());
                Problem::new(codes::SOURCE, place, message, "which one?")
                    .with_help(format!("begin with `from TABLE`; there are {}", tables.join(", ")))
            }
            // The source at the end of a pipe is outside of the query.
            _ if !self.whole.contains(&place.start) => {
                let sources = self.tables.sources.iter().map(String::as_str);
                let help = suggest(name, sources.chain(["stdin", "demo"]), "there are");
                let message = format!("there is no source {name}");
                Problem { help, ..Problem::new(codes::SOURCE, place, message, "not known") }
            }
            Lookup::Unknown | Lookup::Found(..) | Lookup::Broken => {
                let mut names = self.tables.names();
                names.extend(parts.iter().map(|(part, _)| part.clone()));
                let help = suggest(name, names.iter().map(String::as_str), "there are");
                let message = format!("there is no table or view {name}");
                Problem { help, ..Problem::new(codes::TABLE, place, message, "not known") }
            }
        };
        self.problems.push(problem);
    }

    fn derived(
        &mut self,
        subquery: &mut Query,
        alias: &mut Option<TableAlias>,
        parts: &Parts,
    ) -> Scope {
        let scope = self.query(subquery, parts);
        let mut columns: Vec<_> = scope.visible().cloned().collect();
        self.refuse_duplicates(&columns);
        self.derived_count += 1;
        let unnamed = format!("subquery{}", self.derived_count);
        let alias = alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: exact(&unnamed, Span::empty()),
            columns: Vec::new(),
            at: None,
        });
        rename(alias, &mut columns);
        Scope { columns, open: scope.open }
    }
}

/// Gives the columns the names of an alias: `t` or `t(a, b)`.
fn rename(alias: &mut TableAlias, columns: &mut [Column]) {
    let name = meant(&alias.name);
    alias.name = exact(&name, alias.name.span);
    for (column, new) in columns.iter_mut().zip(&mut alias.columns) {
        column.name = meant(&new.name);
        new.name = exact(&column.name, new.name.span);
    }
    for column in columns {
        *column = Column::new(vec![name.clone()], std::mem::take(&mut column.name));
    }
}

fn common_names(left: &Scope, right: &Scope, span: Span) -> Vec<Ident> {
    let common = |column: &&Column| left.visible().any(|other| other.name == column.name);
    right.visible().filter(common).map(|column| exact(&column.name, span)).collect()
}

/// Which side's columns USING shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Left,
    Right,
    Neither,
}

fn is_lateral(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Derived { lateral: true, .. } | TableFactor::UNNEST { .. })
}

fn refused_join(operator: &JoinOperator, lateral: bool) -> (&'static str, &'static str) {
    match operator {
        _ if lateral => (
            "only an inner or a left join can have LATERAL on its right",
            "write `cross join lateral (…)` or `left join lateral (…) on true`",
        ),
        JoinOperator::Semi(_) | JoinOperator::LeftSemi(_) | JoinOperator::RightSemi(_) => {
            ("a join has no word `semi`", "write `where exists (select 1 from … where …)`")
        }
        JoinOperator::Anti(_) | JoinOperator::LeftAnti(_) | JoinOperator::RightAnti(_) => {
            ("a join has no word `anti`", "write `where not exists (select 1 from … where …)`")
        }
        _ => (
            "this kind of join cannot be maintained yet",
            "there are `[inner] join`, `left join`, `right join`, `full join` and `cross join`",
        ),
    }
}
