//! Functions, operators and casts, each with several arguments, on both sides: what PostgreSQL answers, a view answers.
//!
//! Every expression is a view over the same rows of arguments, and is asked of a real server row by row. Where the
//! server fails, the row must be missing from the view. Numbers that are not whole are compared to ten digits: numerics
//! have other numbers of places here and there.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int32Type};
use change::cell::Column;
use change::{ChangeForm, TableSchema};
use dataflow::{Dataflow, DataflowOptions};
use plan::Catalog;
use servers::{Postgres, PostgresOptions, ServerError};

use crate::expressions::{ARGUMENTS, COLUMNS, GAPS, OTHERWISE, SAME};
use crate::world::{Cell, changes, table};

/// What stands for NULL, and for a row whose expression fails.
const NULL: &str = "∅";
const FAILS: &str = "fails";

/// The arguments as text, and the view that gives them their types.
fn raw() -> Arc<TableSchema> {
    let columns: Vec<(&str, DataType)> = std::iter::once(("id", DataType::Int32))
        .chain(COLUMNS.iter().map(|(name, _)| (*name, DataType::Utf8)))
        .collect();
    table("raw", ChangeForm::Exact, &columns)
}

fn arguments() -> String {
    let typed = COLUMNS.iter().map(|(name, kind)| format!("cast({name} as {kind}) as {name}"));
    let columns = typed.collect::<Vec<_>>().join(", ");
    format!("create view args as select id, {columns} from raw;\n")
}

fn cells() -> Vec<Vec<Cell>> {
    let row = |(id, row): (i64, &[&str; COLUMNS.len()])| {
        let texts = row.iter().map(|text| match *text {
            NULL => Cell::Null,
            text => Cell::Text(text.to_owned()),
        });
        std::iter::once(Cell::Int(id)).chain(texts).collect()
    };
    (0..).zip(ARGUMENTS).map(row).collect()
}

/// What each expression gives for each row.
type Answers = BTreeMap<usize, Vec<String>>;

/// What the views give; the expressions that are refused are missing.
fn ours(expressions: &[&str]) -> (Answers, BTreeMap<usize, String>) {
    let raw = raw();
    let catalog = Catalog { tables: vec![Arc::clone(&raw)], ..Catalog::default() };
    let (mut script, mut asked, mut refused) = (arguments(), Vec::new(), BTreeMap::new());
    for (at, expression) in expressions.iter().enumerate() {
        let view = format!("create view e{at} as select id, ({expression}) as v from args;\n");
        let alone = format!("{}{view}", arguments());
        match plan::parse(&alone).and_then(|script| plan::plan(&script, &catalog)) {
            Ok(_) => {
                script.push_str(&view);
                asked.push(at);
            }
            Err(problems) => drop(refused.insert(at, problems.problems[0].message.clone())),
        }
    }
    let program = plan::plan(&plan::parse(&script).unwrap(), &catalog).unwrap();
    let mut dataflow = Dataflow::with_options(&program.views, &DataflowOptions::default()).unwrap();
    let rows: Vec<_> = cells().into_iter().map(|row| (row, 1)).collect();
    dataflow.push(&[changes(&raw, &rows, Vec::new())]).unwrap();
    let none = || vec![FAILS.to_owned(); ARGUMENTS.len()];
    let mut answers: Answers = asked.iter().map(|at| (*at, none())).collect();
    for (view, difference) in dataflow.finish_step().unwrap() {
        let Some(at) = view.checked_sub(1).map(|at| asked[at]) else { continue };
        let batch = difference.rows();
        let ids = batch.column(0).as_primitive::<Int32Type>();
        let column = Column::new(batch.schema().field(1), batch.column(1));
        for row in 0..batch.num_rows() {
            let mut text = Vec::new();
            match column.is_null(row) {
                true => text.extend(NULL.as_bytes()),
                false => column.write_text(row, &mut text),
            }
            let id = usize::try_from(ids.value(row)).unwrap();
            answers.get_mut(&at).unwrap()[id] = String::from_utf8(text).unwrap();
        }
    }
    (answers, refused)
}

/// What the server gives, each answer with its type before it.
fn theirs(server: &Postgres, expressions: &[&str]) -> BTreeMap<usize, Vec<(String, String)>> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let columns: Vec<String> = COLUMNS.iter().map(|(name, _)| format!("{name} text")).collect();
    let mut sql = format!(
        "set timezone = 'UTC'; set client_min_messages = error; create table raw (id int, {});\n",
        columns.join(", ")
    );
    for (id, row) in ARGUMENTS.iter().enumerate() {
        let texts = row.iter().map(|text| match *text {
            NULL => "null".to_owned(),
            text => quoted(text),
        });
        let texts: Vec<String> = texts.collect();
        sql.push_str(&format!("insert into raw values ({id}, {});\n", texts.join(", ")));
    }
    sql.push_str(&arguments());
    sql.push_str(&format!(
        "create function asked(expression text, place int) returns text language plpgsql as $$
         declare answer text; kind text;
         begin
           execute format('select pg_typeof(v)::text, v::text from (select (%s) as v from args where id = %s) as a',
             expression, place) into kind, answer;
           return kind || '¦' || replace(coalesce(answer, '{NULL}'), E'\\n', '⏎');
         exception when others then return '¦{FAILS}';
         end $$;\nselect '#';\n"
    ));
    for (at, expression) in expressions.iter().enumerate() {
        let count = ARGUMENTS.len() - 1;
        sql.push_str(&format!(
            "select '{at}¦' || asked({}, i) from generate_series(0, {count}) as i;\n",
            quoted(expression)
        ));
    }
    let text = server.psql(&sql).unwrap();
    let mut answers: BTreeMap<usize, Vec<(String, String)>> = BTreeMap::new();
    for line in text.split_once("#\n").unwrap().1.lines() {
        let mut parts = line.splitn(3, '¦');
        let mut part = || parts.next().unwrap_or_else(|| panic!("{line}")).to_owned();
        let (at, kind, text) = (part(), part(), part());
        let text = text.replace('⏎', "\n");
        answers.entry(at.parse().unwrap()).or_default().push((kind, text));
    }
    answers
}

/// Whether an answer is the server's.
fn alike(is: &str, kind: &str, should: &str) -> bool {
    if is == should {
        return true;
    }
    match (is.parse::<f64>(), should.parse::<f64>()) {
        (Ok(is), Ok(should)) if matches!(kind, "numeric" | "double precision" | "real") => {
            (is - should).abs() <= should.abs() * 1e-10
        }
        _ => false,
    }
}

fn server() -> Option<Postgres> {
    match Postgres::start(PostgresOptions::quick()) {
        Ok(server) => Some(server),
        Err(error @ ServerError::Missing { .. }) => {
            println!("LEFT OUT: PostgreSQL is not installed, so it is no oracle here: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn functions_answer_as_postgres_does() {
    let Some(server) = server() else { return };
    let (ours, refused) = ours(SAME);
    let theirs = theirs(&server, SAME);
    let mut failures = Vec::new();
    for (at, expression) in SAME.iter().enumerate() {
        if let Some(problem) = refused.get(&at) {
            failures.push(format!("{expression}\n  refused: {problem}"));
            continue;
        }
        let mut lines = Vec::new();
        let (is, should) = (&ours[&at], &theirs[&at]);
        for (row, (is, (kind, should))) in is.iter().zip(should).enumerate() {
            if !alike(is, kind, should) {
                lines.push(format!("  row {row}: is {is}, should be {should} ({kind})"));
            }
        }
        if should.iter().all(|(_, should)| should == FAILS) {
            lines.push("  PostgreSQL fails for every row".to_owned());
        }
        if !lines.is_empty() {
            failures.push(format!("{expression}\n{}", lines.join("\n")));
        }
    }
    assert!(failures.is_empty(), "{} differ\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn what_is_listed_as_missing_is_refused() {
    let (answers, _) = ours(GAPS);
    let there: Vec<&str> = answers.keys().map(|at| GAPS[*at]).collect();
    assert!(there.is_empty(), "these are there, so they belong to the others: {there:#?}");
}

#[test]
fn what_is_listed_as_other_gives_other_answers() {
    let Some(server) = server() else { return };
    let expressions: Vec<&str> = OTHERWISE.iter().map(|(expression, _)| *expression).collect();
    let (ours, refused) = ours(&expressions);
    assert!(refused.is_empty(), "{refused:?}");
    let theirs = theirs(&server, &expressions);
    for (at, expression) in expressions.iter().enumerate() {
        let mut pairs = ours[&at].iter().zip(&theirs[&at]);
        let same = pairs.all(|(is, (kind, should))| alike(is, kind, should));
        assert!(!same, "{expression} answers as PostgreSQL does by now");
    }
}
