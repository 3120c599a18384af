//! Statements of a session: what is read from them, and what is wrong with them.

use std::sync::Arc;

use arrow::array::{Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use expect_test::{Expect, expect};

use crate::{Answer, Problems, Relation, SessionStatement, TableDefinition, session_statements};

fn one(text: &str) -> SessionStatement {
    let mut statements = session_statements(text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0)
}

fn table(text: &str) -> TableDefinition {
    let SessionStatement::CreateTable { table, .. } = one(text) else {
        panic!("{text} creates a table")
    };
    table
}

#[track_caller]
fn check_problems(text: &str, expect: &Expect) {
    let problems = session_statements(text).expect_err("it is wrong");
    expect.assert_eq(&problems.to_string());
}

fn people() -> Relation {
    let fields =
        vec![Field::new("id", DataType::Int32, true), Field::new("name", DataType::Utf8, true)];
    let schema = Arc::new(Schema::new(fields));
    let ids = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let names = Arc::new(StringArray::from(vec![Some("Ada"), None, Some("Grace")]));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![ids, names]).unwrap();
    Relation { name: "people".to_owned(), schema, rows: vec![rows] }
}

/// Runs a query over three people.
fn answer(text: &str) -> Result<Answer, Problems> {
    let SessionStatement::Query(read) = one(text) else { panic!("{text} is a query") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(read.run(vec![people()]))
}

#[test]
fn a_tables_columns_have_the_types_of_the_sources() {
    let table = table(
        "create table t (a int not null, b numeric(10,2), c numeric, d varchar(5) unique, e uuid,
           f timestamptz, g text[] default null, primary key (b, a))",
    );
    let shown: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let field = &column.field;
            let not_null = if column.not_null { " not null" } else { "" };
            let logical = change::logical_type(field).unwrap_or_default();
            format!("{} {} {logical}{not_null}", field.name(), field.data_type())
        })
        .collect();
    expect![[r#"
        a Int32  not null
        b Decimal128(10, 2)  not null
        c Decimal256(76, 18) numeric
        d Utf8 
        e Utf8 uuid
        f Timestamp(µs, "UTC") 
        g List(Utf8) "#]]
    .assert_eq(&shown.join("\n"));
    assert_eq!(table.key, [0, 1]);
    assert_eq!(table.unique, [[3]]);
    assert_eq!(table.columns[3].letters_max, Some(5));
    assert_eq!(table.schema().name().to_string(), "public.t");
}

#[test]
fn all_problems_of_a_text_are_told_with_their_places() {
    check_problems(
        "create table t (a int, a text);\ninsert into t values (1;\nfetch next",
        &expect![[r#"
            SQL015: there are two columns named a
            1 | create table t (a int, a text);
              |                        ^ the second one

            SQL002: expected ), found the end
            2 | insert into t values (1;
              |                        ^ expected )

            SQL003: there is no statement `fetch`
            3 | fetch next
              | ^^^^^ not a statement
              = help: there are select, insert, update, delete, truncate, create table, create view, drop, begin, commit, rollback, flush and explain
        "#]],
    );
    check_problems(
        "create table t (a int check (a > 0))",
        &expect![[r#"
            SQL035: a column cannot have `CHECK (a > 0)`
            1 | create table t (a int check (a > 0))
              |                 ^ not supported
              = help: the form is: create table NAME (COLUMN TYPE [primary key] [not null] [unique] [default VALUE], …) [with (history = '7 days')]
        "#]],
    );
    check_problems(
        "insert into t values (1) on conflict (a) do update set b = 1",
        &expect![[r#"
            SQL035: `on conflict … do update` is not supported
            1 | insert into t values (1) on conflict (a) do update set b = 1
              | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ in here
        "#]],
    );
}

#[test]
fn a_column_that_is_not_there_is_named() {
    let table = table("create table t (id int, name text)");
    let SessionStatement::Insert(insert) = one("insert into t (id,\n nmae) values (1, 'a')") else {
        panic!("an insert")
    };
    let problems = insert.values(&table).expect_err("there is no such column");
    expect![[r#"
        SQL011: table t has no column nmae
        2 |  nmae) values (1, 'a')
          |  ^^^^ here
          = help: did you mean name?
    "#]]
    .assert_eq(&problems.to_string());
}

#[test]
fn a_view_keeps_its_place_in_the_text() {
    let text = "flush;\ncreate view v as select x from t";
    let statements = session_statements(text).unwrap();
    let SessionStatement::CreateView { text: view } = &statements[1] else { panic!("a view") };
    assert_eq!(view.len(), text.len());
    assert!(view.ends_with("\ncreate view v as select x from t"));
}

#[test]
fn queries_and_pipes_are_read_once() {
    let shown = |text| pretty_format_batches(&answer(text).unwrap().rows).unwrap().to_string();
    let query = "select id * 2 as twice from people where name is not null order by id desc";
    let pipe = "from people | where name is not null | select id * 2 as twice | order by 1 desc";
    assert_eq!(
        shown(query),
        shown(
            "from people |> where name is not null |> select id * 2 as twice |> order by twice desc"
        )
    );
    expect![[r#"
        +-------+
        | twice |
        +-------+
        | 6     |
        | 2     |
        +-------+"#]]
    .assert_eq(&shown(query));
    assert!(session_statements(pipe).is_ok());
}

#[test]
fn a_read_names_what_it_reads_and_what_is_missing() {
    let SessionStatement::Query(read) =
        one("with a as (select 1) select * from a, people p join orders o on o.id = p.id")
    else {
        panic!("a query")
    };
    assert_eq!(read.relations().unwrap(), ["orders", "people"]);
    let problems = read.unknown("orders", ["people"]);
    assert_eq!(problems.problems[0].code, "SQL010");
    assert_eq!(&problems.text[problems.problems[0].span.clone()], "orders");
    let problems = answer("select nmae from people").expect_err("there is no such column");
    expect![[r#"
        SQL011: there is no column nmae
        1 | select nmae from people
          |        ^^^^ here
          = help: did you mean name?
    "#]]
    .assert_eq(&problems.to_string());
}
