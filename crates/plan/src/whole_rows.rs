//! A table's name as its row, in queries that run once: `row_to_json(t)` is an object of the columns of `t`.
//!
//! In views the resolver knows what every name stands for. Here the names of the tables behind FROM are looked up beside
//! the schemas of what the query reads; of a subquery or a `with` query, whose columns have the names that it gives them.
//! A name that is not found stays what it was, and is a column that there is not.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, Ident, JoinConstraint, JoinOperator, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, VisitMut,
    VisitorMut, WildcardAdditionalOptions, With,
};

use crate::gathered::rows_of;
use crate::scope::meant;
use crate::session::{ROW_NUMBER, last_name};
use crate::spelling::{call, text};

/// Writes the rows of tables out; `columns` knows the columns of what can be read.
pub(crate) fn write_whole_rows(
    query: &mut impl VisitMut,
    columns: &dyn Fn(&str) -> Option<Vec<String>>,
) {
    let mut walk = Walk { columns, scopes: Vec::new() };
    let ControlFlow::Continue(()) = query.visit(&mut walk);
}

/// The names of columns; `None` when the text does not tell them all.
type Columns = Option<Vec<String>>;

/// A table behind FROM.
struct Table {
    name: Ident,
    columns: Columns,
}

/// What a query or one of its `select`s names.
#[derive(Default)]
struct Names {
    with: Vec<(String, Columns)>,
    tables: Vec<Table>,
    /// The query's `with`, while the rest of it is visited.
    taken: Option<With>,
}

struct Walk<'a> {
    columns: &'a dyn Fn(&str) -> Option<Vec<String>>,
    /// The queries and `select`s that we are inside of.
    scopes: Vec<Names>,
}

impl VisitorMut for Walk<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        self.scopes.push(Names::default());
        // A `with` query does not see itself, nor those behind it: it is visited before they are known.
        let mut with = query.with.take();
        let recursive = with.as_ref().is_some_and(|with| with.recursive);
        for Cte { alias, query, .. } in with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            if recursive {
                self.name_with(meant(&alias.name), None);
            }
            let ControlFlow::Continue(()) = query.visit(self);
            let columns = self.columns_of(query).and_then(|all| renamed(all, alias));
            self.name_with(meant(&alias.name), columns);
        }
        // The query's order reads what its only `select` reads.
        let tables = match query.body.as_ref() {
            SetExpr::Select(select) => self.tables_of(select),
            _ => Vec::new(),
        };
        if let Some(names) = self.scopes.last_mut() {
            (names.tables, names.taken) = (tables, with);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        query.with = self.scopes.pop().and_then(|names| names.taken);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        let tables = self.tables_of(select);
        self.scopes.push(Names { tables, ..Names::default() });
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<Self::Break> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::Function(function) = expr {
            for argument in rows_of(function) {
                let Expr::Identifier(name) = &*argument else { continue };
                if let Some(row) = self.row(name) {
                    *argument = row;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// The row of a table: the names of its columns and their values.
fn row_of(name: &Ident, columns: &[String]) -> Expr {
    let quoted = |name: &str| Ident::with_quote('"', name);
    let members = columns.iter().flat_map(|column| {
        let value = Expr::CompoundIdentifier(vec![name.clone(), quoted(column)]);
        [text(column), value]
    });
    call("json_row", members.collect())
}

impl Walk<'_> {
    /// The row of the table of a name that is no column's, in the innermost scope that has either. A table whose columns
    /// are not told may have one of that name, so nothing outside of it is meant.
    fn row(&self, name: &Ident) -> Option<Expr> {
        let wanted = meant(name);
        for names in self.scopes.iter().rev() {
            let tables = &names.tables;
            let has =
                |table: &Table| table.columns.as_ref().is_some_and(|all| all.contains(&wanted));
            if tables.iter().any(has) {
                return None;
            }
            if let Some(table) = tables.iter().find(|table| meant(&table.name) == wanted) {
                return Some(row_of(&table.name, table.columns.as_ref()?));
            }
            if tables.iter().any(|table| table.columns.is_none()) {
                return None;
            }
        }
        None
    }

    fn name_with(&mut self, name: String, columns: Columns) {
        if let Some(names) = self.scopes.last_mut() {
            names.with.push((name, columns));
        }
    }

    fn tables_of(&self, select: &Select) -> Vec<Table> {
        let mut tables = Vec::new();
        select.from.iter().for_each(|from| self.tables_joined(from, &mut tables));
        tables
    }

    fn tables_joined(&self, from: &TableWithJoins, tables: &mut Vec<Table>) {
        let joined = from.joins.iter().map(|join| &join.relation);
        for factor in std::iter::once(&from.relation).chain(joined) {
            self.tables_in(factor, tables);
        }
    }

    fn tables_in(&self, factor: &TableFactor, tables: &mut Vec<Table>) {
        let (name, columns, alias) = match factor {
            TableFactor::Table { name, alias, args, .. } => {
                let own = last_name(name).unwrap_or_default();
                let columns = if args.is_none() { self.known(&own) } else { None };
                let ident = name.0.last().and_then(|part| part.as_ident()).cloned();
                (ident, columns, alias)
            }
            TableFactor::Derived { subquery, alias, .. } => {
                (None, self.columns_of(subquery), alias)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                return self.tables_joined(table_with_joins, tables);
            }
            TableFactor::NestedJoin { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => (None, None, alias),
            _ => (None, None, &None),
        };
        let nameless = || Ident::new("");
        tables.push(match alias {
            None => Table { name: name.unwrap_or_else(nameless), columns },
            Some(alias) => {
                let columns = columns.and_then(|columns| renamed(columns, alias));
                Table { name: alias.name.clone(), columns }
            }
        });
    }

    /// The columns of a `with` query, or of something that can be read.
    fn known(&self, name: &str) -> Columns {
        let mut with = self.scopes.iter().rev().flat_map(|names| names.with.iter().rev());
        match with.find(|(known, _)| known == name) {
            Some((_, columns)) => columns.clone(),
            None => (self.columns)(name),
        }
    }

    /// The names of a query's columns.
    fn columns_of(&self, query: &Query) -> Columns {
        let mut body = query.body.as_ref();
        while let SetExpr::SetOperation { left, .. } = body {
            body = left;
        }
        let SetExpr::Select(select) = body else { return None };
        // What the query names itself is not known here.
        let has_with = query.with.is_some();
        let mut columns = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => columns.push(meant(alias)),
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => columns.push(meant(name)),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
                    columns.push(meant(names.last()?));
                }
                SelectItem::Wildcard(options) if !has_with && is_plain(options) => {
                    if !select.from.iter().all(keeps_columns) {
                        return None;
                    }
                    for table in self.tables_of(select) {
                        columns.extend(table.columns?);
                    }
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if !has_with && is_plain(options) => {
                    let name = last_name(name)?;
                    let mut tables = self.tables_of(select).into_iter();
                    columns.extend(tables.find(|table| meant(&table.name) == name)?.columns?);
                }
                _ => return None,
            }
        }
        Some(columns)
    }
}

/// Whether a star stands for all columns, as they are.
fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    *options == WildcardAdditionalOptions::default()
}

/// Whether joins have the columns of both sides: `using` makes one of two.
fn keeps_columns(from: &TableWithJoins) -> bool {
    let keeps = |operator: &JoinOperator| match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => {
            matches!(constraint, JoinConstraint::On(_) | JoinConstraint::None)
        }
        _ => false,
    };
    let nested = |factor: &TableFactor| match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => keeps_columns(table_with_joins),
        _ => true,
    };
    nested(&from.relation)
        && from.joins.iter().all(|join| keeps(&join.join_operator) && nested(&join.relation))
}

/// Columns under the names that an alias gives them.
fn renamed(mut columns: Vec<String>, alias: &TableAlias) -> Option<Vec<String>> {
    for (at, given) in alias.columns.iter().enumerate() {
        *columns.get_mut(at)? = meant(&given.name);
    }
    Some(columns)
}

/// The names of a schema's columns, without the one that numbers rows.
pub(crate) fn names_of(schema: &arrow::datatypes::SchemaRef) -> Vec<String> {
    let names = schema.fields().iter().map(|field| field.name().clone());
    names.filter(|name| name != ROW_NUMBER).collect()
}
