//! PostgreSQL as the second oracle: what DataFusion and the engine have wrong alike shows here.
//!
//! The texts of [`grammar`](crate::grammar) are valid there as well. After every step the tables are loaded into a real
//! server, and every view's rows are compared as text. What is known to differ is made alike in [`alike`].

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use change::{ChangeBatch, TableSchema};
use dataflow::{Dataflow, DataflowOptions};
use plan::ir::Program;
use servers::{Postgres, PostgresOptions, ServerError};

use crate::property::{Held, nullable, seeds};
use crate::texts::{Case, Step};
use crate::world::Cell;

/// Of a hundred views, at most so many may be refused by PostgreSQL.
const REFUSED_PERCENT_MAX: usize = 15;

fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Int32 => "int",
        DataType::Int64 => "bigint",
        DataType::Float64 => "double precision",
        DataType::Decimal128(..) => "numeric(12, 2)",
        DataType::Utf8 => "text",
        DataType::Boolean => "boolean",
        DataType::Date32 => "date",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        other => panic!("no type for {other}"),
    }
}

fn create(table: &TableSchema) -> String {
    let fields = table.columns().fields().iter();
    let columns = fields.map(|field| format!("{} {}", field.name(), type_name(field.data_type())));
    format!("create table {} ({});\n", table.name().table, columns.collect::<Vec<_>>().join(", "))
}

fn literal(cell: &Cell, data_type: &DataType) -> String {
    match (cell, data_type) {
        (Cell::Null, _) => "null".to_owned(),
        (Cell::Int(days), DataType::Date32) => format!("date '1970-01-01' + {days}"),
        (Cell::Int(micros), DataType::Timestamp(..)) => {
            format!("timestamp '1970-01-01 00:00:00' + interval '{} seconds'", micros / 1_000_000)
        }
        (Cell::Int(number), _) => number.to_string(),
        (Cell::Float(number), _) => format!("'{number}'::double precision"),
        (Cell::Decimal(number), _) => format!("{number} * 0.01"),
        (Cell::Text(text), _) => format!("'{text}'"),
        (Cell::Bool(flag), _) => flag.to_string(),
    }
}

/// Makes the tables hold what they hold after the step.
fn load(case: &Case, step: &Step) -> String {
    let mut sql = String::new();
    for (table, rows) in case.tables.iter().zip(&step.cells) {
        let name = &table.name().table;
        sql.push_str(&format!("delete from {name};\n"));
        for row in rows {
            let cells = row.iter().zip(table.columns().fields());
            let cells: Vec<String> =
                cells.map(|(cell, field)| literal(cell, field.data_type())).collect();
            sql.push_str(&format!("insert into {name} values ({});\n", cells.join(", ")));
        }
    }
    sql
}

/// A value's text, without what is known to differ:
/// - numbers are compared to three places: means of integers are `double precision` here and numeric there, means of
///   decimals have four places more than their input here and as many as there is room for there, and the last bits of
///   deviations depend on the order of the rows;
/// - a zero has no sign: which of two equal zeros stands for a group is nobody's promise;
/// - times have a `T` here and a blank there, and `Z` for `+00`.
fn alike(text: &str, data_type: &DataType) -> String {
    match data_type {
        DataType::Float64 | DataType::Decimal128(..) | DataType::Int64 | DataType::Int32 => {
            let number: f64 = text.parse().unwrap_or_else(|_| panic!("{text} is not a number"));
            if !number.is_finite() {
                return number.abs().to_string() + if number < 0.0 { "-" } else { "" };
            }
            // Halves must not depend on the last bits.
            let rounded = (number * 1e3 + 1e-3).round() / 1e3 + 0.0;
            format!("{rounded:.3}")
        }
        DataType::Timestamp(..) => text.replace('T', " ").replace('Z', "+00"),
        _ => text.to_owned(),
    }
}

/// The rows of a view as sorted lines of text.
fn lines(rows: &ChangeBatch) -> Vec<String> {
    let rows = rows.flatten().unwrap();
    let diffs = std::sync::Arc::clone(&rows.columns()[rows.num_columns() - 1]);
    let diffs = diffs.as_primitive::<arrow::datatypes::Int64Type>();
    let columns = &rows.columns()[..rows.num_columns() - 1];
    let texts: Vec<_> = columns.iter().map(|c| cast(c, &DataType::Utf8).unwrap()).collect();
    let mut lines = Vec::new();
    for row in 0..rows.num_rows() {
        let cells = texts.iter().zip(columns).map(|(text, column)| {
            let text = text.as_string::<i32>();
            if text.is_null(row) {
                "∅".to_owned()
            } else {
                alike(text.value(row), column.data_type())
            }
        });
        let line = cells.collect::<Vec<_>>().join("¦");
        lines.extend((0..diffs.value(row)).map(|_| line.clone()));
    }
    lines.sort();
    lines
}

/// The query for a view's rows as lines, behind a line of its own.
fn question(view: &str, held: &Held) -> String {
    let schema = held.rows.schema();
    let cells: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| format!("coalesce({}::text, '∅')", field.name()))
        .collect();
    // psql would leave an empty line away.
    format!("select '#'; select '>' || {} from {view};\n", cells.join(" || '¦' || "))
}

/// PostgreSQL's rows of a view, in the form of [`lines`].
fn answer(text: &str, held: &Held) -> Vec<String> {
    let schema = held.rows.schema();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let cells = line[1..].split('¦').zip(schema.fields());
            let cells = cells.map(|(cell, field)| {
                if cell == "∅" { cell.to_owned() } else { alike(cell, field.data_type()) }
            });
            cells.collect::<Vec<_>>().join("¦")
        })
        .collect();
    lines.sort();
    lines
}

/// Compares a case; returns how many views PostgreSQL refused.
fn run(server: &Postgres, case: &Case, program: &Program, seed: u64) -> (usize, Vec<String>) {
    let options = DataflowOptions { workers: case.workers, ..DataflowOptions::default() };
    let mut dataflow = Dataflow::with_options(&program.views, &options).unwrap();
    let mut held: Vec<Held> =
        program.views.iter().map(|view| Held::new(nullable(&view.schema))).collect();
    let tables: String = case.tables.iter().map(|table| create(table)).collect();
    server.psql(&format!("drop schema public cascade; create schema public;\n{tables}")).unwrap();
    let refused = create_views(server, case, seed);
    let asked: Vec<usize> = held_views(&program.views, &refused).collect();
    let mut failures = Vec::new();
    for (at, step) in case.steps.iter().enumerate() {
        for part in &step.parts {
            dataflow.push(part).unwrap();
        }
        for (view, difference) in dataflow.finish_step().unwrap() {
            held[view].add(&difference);
        }
        let mut sql = load(case, step);
        for &view in &asked {
            sql.push_str(&question(&program.views[view].name, &held[view]));
        }
        let text = server
            .psql(&sql)
            .unwrap_or_else(|error| panic!("seed {seed}, {}{error}", case.script()));
        for (&view, text) in asked.iter().zip(text.split("#").skip(1)) {
            let (is, should) = (lines(&held[view].rows), answer(text, &held[view]));
            if is != should {
                failures.push(format!(
                    "seed {seed}, step {at}, {}\n{}is\n{}\nshould be\n{}\n{}",
                    program.views[view].name,
                    case.script(),
                    is.join("\n"),
                    should.join("\n"),
                    load(case, step)
                ));
                return (refused.len(), failures);
            }
        }
    }
    (refused.len(), failures)
}

/// The views that PostgreSQL took.
fn held_views<'a>(
    views: &'a [plan::ir::ViewPlan],
    refused: &'a [String],
) -> impl Iterator<Item = usize> + 'a {
    (0..views.len()).filter(|&view| !refused.contains(&views[view].name))
}

/// Creates the views; returns the names of those that PostgreSQL refuses.
fn create_views(server: &Postgres, case: &Case, seed: u64) -> Vec<String> {
    if server.psql(&format!("begin; {} commit;", case.script())).is_ok() {
        return Vec::new();
    }
    let mut refused = Vec::new();
    for (name, query) in &case.views {
        if let Err(error) = server.psql(&format!("create view {name} as {query}")) {
            if std::env::var_os("EVERT_REFUSED").is_some() {
                println!("seed {seed}: {error}\n{query}");
            }
            refused.push(name.clone());
        }
    }
    refused
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
fn random_texts_equal_what_postgres_says() {
    let server = match Postgres::start(PostgresOptions::quick()) {
        Ok(server) => server,
        Err(error @ ServerError::Missing { .. }) => {
            eprintln!("LEFT OUT: PostgreSQL is not installed, so it is no oracle here: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let (mut views, mut refused, mut failures) = (0, 0, Vec::new());
    for seed in seeds(60) {
        let (case, batch) = Case::draw(seed ^ 0x90_57, true);
        if std::env::var_os("EVERT_KEEP_ON").is_some() {
            println!("seed {seed}");
        }
        let (more, failed) = run(&server, &case, batch.program(), seed);
        views += case.views.len();
        refused += more;
        if std::env::var_os("EVERT_KEEP_ON").is_none() {
            assert!(failed.is_empty(), "{}", failed[0]);
        }
        failures.extend(failed);
    }
    println!("{views} views, {refused} refused by PostgreSQL");
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    assert!(views < 100 || refused * 100 <= views * REFUSED_PERCENT_MAX, "{refused} are refused");
}
