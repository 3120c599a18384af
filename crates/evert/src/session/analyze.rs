//! `explain analyze VIEW`: what a view's operators did, and what they keep.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use change::TableName;
use dataflow::{FlowStat, OperatorStat};

use crate::failure::Failure;
use crate::session::{Outcome, Session};

/// The name of the operator that hands a table's changes on; the table itself is shown in its place.
const TABLE: &str = "table";

impl Session {
    /// A line for each table that the view reads, and for each of its operators, inputs first: rows in, rows out, rows
    /// kept, and about how many bytes these take. What several views share is shown with each of them.
    pub(super) fn analyze(&self, view: &str) -> Result<Outcome, Failure> {
        let found = self.find(view).filter(|one| !one.is_table());
        let one = found.ok_or_else(|| self.unknown("view", view))?;
        let stat = match (one.stat(), &self.running) {
            (Some(stat), _) => stat,
            (None, Some(running)) => running.engine.stat(view)?,
            (None, None) => return Err(Failure::Ended("the engine")),
        };
        Ok(shown(&lines(&stat, view, &self.tables_of(view)?)))
    }

    /// The tables that a view of the catalogue reads, by itself or through others.
    fn tables_of(&self, view: &str) -> Result<BTreeSet<TableName>, Failure> {
        let catalogue = &self.opened.catalogue;
        let program = catalogue.program(catalogue.tables()?)?;
        let plan = program.views.iter().find(|plan| plan.name == view);
        let tables = plan.into_iter().flat_map(|plan| plan.root.tables());
        Ok(tables.map(|table| table.name().clone()).collect())
    }
}

/// A name, and what it did and keeps.
type Line = (String, OperatorStat);

fn lines(stat: &FlowStat, view: &str, tables: &BTreeSet<TableName>) -> Vec<Line> {
    let tables = stat.tables.iter().filter(|table| tables.contains(&table.table)).map(|table| {
        let (rows_in, rows_out, state) = (table.rows_in, table.rows_out, table.state);
        let line =
            OperatorStat { operator: TABLE, rows_in, rows_out, largest: 0, touched: 0, state };
        (format!("{TABLE} {}", table.table), line)
    });
    let operators = stat.views.iter().filter(|stat| stat.view == view);
    let operators = operators.flat_map(|stat| &stat.operators);
    let operators = operators.filter(|operator| operator.operator != TABLE);
    tables.chain(operators.map(|stat| (stat.operator.to_owned(), stat.clone()))).collect()
}

fn shown(lines: &[Line]) -> Outcome {
    let names: StringArray = lines.iter().map(|(name, _)| Some(name)).collect();
    let column = |value: fn(&OperatorStat) -> u64| -> ArrayRef {
        let values = lines.iter().map(|(_, stat)| i64::try_from(value(stat)).unwrap_or(i64::MAX));
        Arc::new(Int64Array::from_iter_values(values))
    };
    let columns = vec![
        ("operator", Arc::new(names) as ArrayRef),
        ("rows_in", column(|stat| stat.rows_in)),
        ("rows_out", column(|stat| stat.rows_out)),
        ("kept_rows", column(|stat| stat.state.rows as u64)),
        ("kept_bytes", column(|stat| stat.state.bytes as u64)),
    ];
    let number = |name: &str| match name {
        "operator" => DataType::Utf8,
        _ => DataType::Int64,
    };
    let fields = columns.iter().map(|(name, _)| Field::new(*name, number(name), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns);
    Outcome::Rows(schema, vec![rows.expect("columns of one length")])
}
