//! A table's name as its row, in queries that run once: `row_to_json(t)` is an object of the columns of `t`.
//!
//! In views the resolver knows what every name stands for. Here the names of the tables behind FROM are looked up beside
//! the schemas of what the query reads; of a subquery or a `with` query, whose columns have the names that it gives them.
//! A name that is not found stays what it was, and is a column that there is not.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, Ident, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    TableAlias, TableFactor, VisitMut, VisitorMut,
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
    let mut walk = Walk { columns, queries: Vec::new() };
    let ControlFlow::Continue(()) = query.visit(&mut walk);
}

/// A table behind FROM.
struct Table {
    name: Ident,
    columns: Vec<String>,
}

/// What a query names.
#[derive(Default)]
struct Names {
    with: Vec<(String, Vec<String>)>,
    tables: Vec<Table>,
}

struct Walk<'a> {
    columns: &'a dyn Fn(&str) -> Option<Vec<String>>,
    /// The queries that we are inside of.
    queries: Vec<Names>,
}

impl VisitorMut for Walk<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        self.queries.push(Names::default());
        for Cte { alias, query, .. } in query.with.iter().flat_map(|with| &with.cte_tables) {
            if let Some(columns) = self.columns_of(query).and_then(|all| renamed(all, alias))
                && let Some(names) = self.queries.last_mut()
            {
                names.with.push((meant(&alias.name), columns));
            }
        }
        let mut tables = Vec::new();
        self.tables_of_body(&query.body, &mut tables);
        if let Some(names) = self.queries.last_mut() {
            names.tables = tables;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Self::Break> {
        self.queries.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::Function(function) = expr {
            for argument in rows_of(function) {
                let Expr::Identifier(name) = &*argument else { continue };
                if let Some(table) = self.table(name) {
                    *argument = row_of(table);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// The row of a table: the names of its columns and their values.
fn row_of(table: &Table) -> Expr {
    let quoted = |name: &str| Ident::with_quote('"', name);
    let members = table.columns.iter().flat_map(|column| {
        let value = Expr::CompoundIdentifier(vec![table.name.clone(), quoted(column)]);
        [text(column), value]
    });
    call("json_row", members.collect())
}

impl Walk<'_> {
    /// The table of a name that is no column's, in the innermost query that has either.
    fn table(&self, name: &Ident) -> Option<&Table> {
        let wanted = meant(name);
        for query in self.queries.iter().rev() {
            if query.tables.iter().any(|table| table.columns.contains(&wanted)) {
                return None;
            }
            if let Some(table) = query.tables.iter().find(|table| meant(&table.name) == wanted) {
                return Some(table);
            }
        }
        None
    }

    fn tables_of_body(&self, body: &SetExpr, tables: &mut Vec<Table>) {
        match body {
            SetExpr::Select(select) => self.tables_of(select, tables),
            SetExpr::SetOperation { left, right, .. } => {
                self.tables_of_body(left, tables);
                self.tables_of_body(right, tables);
            }
            _ => {}
        }
    }

    fn tables_of(&self, select: &Select, tables: &mut Vec<Table>) {
        for from in &select.from {
            let joined = from.joins.iter().map(|join| &join.relation);
            for factor in std::iter::once(&from.relation).chain(joined) {
                self.tables_in(factor, tables);
            }
        }
    }

    fn tables_in(&self, factor: &TableFactor, tables: &mut Vec<Table>) {
        let found = match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let own = last_name(name).unwrap_or_default();
                let columns = self.known(&own);
                let ident = name.0.last().and_then(|part| part.as_ident()).cloned();
                columns.zip(ident).map(|(columns, ident)| (ident, columns, alias))
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let columns = self.columns_of(subquery);
                columns.map(|columns| (Ident::new(""), columns, alias))
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                let joined = table_with_joins.joins.iter().map(|join| &join.relation);
                for factor in std::iter::once(&table_with_joins.relation).chain(joined) {
                    self.tables_in(factor, tables);
                }
                None
            }
            _ => None,
        };
        let Some((name, columns, alias)) = found else { return };
        match alias {
            None => tables.push(Table { name, columns }),
            Some(alias) => {
                if let Some(columns) = renamed(columns, alias) {
                    tables.push(Table { name: alias.name.clone(), columns });
                }
            }
        }
    }

    /// The columns of a `with` query, or of something that can be read.
    fn known(&self, name: &str) -> Option<Vec<String>> {
        let with = self.queries.iter().rev().flat_map(|query| &query.with);
        let mut with = with.filter(|(known, _)| known == name);
        with.next().map(|(_, columns)| columns.clone()).or_else(|| (self.columns)(name))
    }

    /// The names of a query's columns; `None` when one is not told by the text.
    fn columns_of(&self, query: &Query) -> Option<Vec<String>> {
        let mut body = query.body.as_ref();
        while let SetExpr::SetOperation { left, .. } = body {
            body = left;
        }
        let SetExpr::Select(select) = body else { return None };
        let mut tables = Vec::new();
        self.tables_of(select, &mut tables);
        let whole =
            tables.len() == select.from.iter().map(|from| 1 + from.joins.len()).sum::<usize>();
        let mut columns = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => columns.push(meant(alias)),
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => columns.push(meant(name)),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
                    columns.push(meant(names.last()?));
                }
                SelectItem::Wildcard(_) if whole => {
                    columns.extend(tables.iter().flat_map(|table| table.columns.clone()));
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    _,
                ) => {
                    let name = last_name(name)?;
                    let table = tables.iter().find(|table| meant(&table.name) == name)?;
                    columns.extend(table.columns.clone());
                }
                _ => return None,
            }
        }
        Some(columns)
    }
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
