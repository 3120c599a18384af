//! A view in a PostgreSQL table: steps, and what is refused.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use change::{ChangeBatch, Time};
use servers::{Auth, PASSWORD, Postgres, PostgresOptions};
use sink::{SinkConfig, SinkError, Step};

use crate::world::{
    Rows, Seeded, config, difference, schema, server, stored, table_url, view, write,
};

async fn refused(config: &SinkConfig) -> SinkError {
    match sink::open(config.clone()).await {
        Ok(_) => panic!("{} was opened", config.url),
        Err(error) => error,
    }
}

fn at(server: &Postgres, table: &str) -> SinkConfig {
    config(table_url(server, table), server.socket_directory())
}

#[tokio::test]
async fn the_table_equals_the_view_after_every_step_small_and_large() {
    let server = server();
    let config = at(&server, "things");
    let mut sink = sink::open(config.clone()).await.unwrap();
    assert_eq!(sink.held(), Time::ZERO);
    let mut random = Seeded(1);
    let mut rows = Rows::new();
    for (step, changes) in [3, 5_000, 40, 2_500, 0, 150, 1, 4_000, 60, 300].into_iter().enumerate()
    {
        let before = rows.clone();
        random.mutate(&mut rows, 3_000, changes);
        let time = step as u64 * 10 + 10;
        write(&mut *sink, time, &before, &rows).await.unwrap();
        assert_eq!(stored(&server, "things"), (time, rows.clone()), "step {step}");
    }
    // All go, by COPY, and it is opened again in between.
    drop(sink);
    let mut sink = sink::open(config.clone()).await.unwrap();
    assert_eq!(sink.held(), Time(100));
    write(&mut *sink, 101, &rows, &Rows::new()).await.unwrap();
    assert_eq!(stored(&server, "things"), (101, Rows::new()));
    drop(sink);
    let held = sink::open(config).await.unwrap().held();
    assert_eq!(held, Time(101), "an empty view's empty table is not an emptied one");
}

#[tokio::test]
async fn a_key_that_moves_and_a_row_that_returns_are_one_step() {
    let server = server();
    let mut sink = sink::open(at(&server, "public.things")).await.unwrap();
    let before: Rows = [(1, "a".to_owned()), (2, "b".to_owned())].into();
    write(&mut *sink, 1, &Rows::new(), &before).await.unwrap();
    // 1 becomes 3; 2 goes and returns with another name; 1 is taken by another row.
    let after: Rows = [(3, "a".to_owned()), (2, "B".to_owned()), (1, "new".to_owned())].into();
    write(&mut *sink, 2, &before, &after).await.unwrap();
    assert_eq!(stored(&server, "things"), (2, after));
}

#[tokio::test]
async fn null_is_a_key_like_any_other_in_a_table_of_ours() {
    let server = server();
    let region = |rows: &[(Option<&str>, i64, i64)]| {
        let names: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>());
        let counts: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>());
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("region", names, true),
            ("orders", counts, true),
        ]);
        ChangeBatch::new(batch.unwrap(), rows.iter().map(|row| row.2).collect())
    };
    let mut config = at(&server, "regions");
    config.view = view(region(&[]).schema(), &[0]);
    let mut sink = sink::open(config.clone()).await.unwrap();
    let steps = [
        region(&[(Some("north"), 1, 1)]),
        region(&[(None, 5, 1), (Some("south"), 2, 1)]),
        region(&[(None, 5, -1), (None, 6, 1)]),
    ];
    for (at, changes) in steps.iter().enumerate() {
        let (after, upto) = (Time(at as u64), Time(at as u64 + 1));
        sink.write(Step { after, upto, changes }).await.unwrap();
    }
    let shown = "select coalesce(region, 'none'), orders from regions order by 2";
    assert_eq!(server.psql(shown).unwrap().trim(), "north|1\nsouth|2\nnone|6");
    drop(sink);
    let mut sink = sink::open(config.clone()).await.unwrap();
    let last = region(&[(None, 6, -1)]);
    sink.write(Step { after: Time(3), upto: Time(4), changes: &last }).await.unwrap();
    assert_eq!(server.psql(shown).unwrap().trim(), "north|1\nsouth|2");

    // In a table of somebody else's, the key is not touched.
    drop(sink);
    server.psql("create table theirs (region text primary key, orders bigint)").unwrap();
    config.url = table_url(&server, "theirs");
    config.name = "theirs".to_owned();
    let mut sink = sink::open(config).await.unwrap();
    let step = Step { after: Time(0), upto: Time(1), changes: &steps[1] };
    let error = sink.write(step).await.unwrap_err();
    assert_eq!(error.code(), "SINK006");
    let ddl = error.help().unwrap();
    server.psql(ddl.strip_prefix("run: ").unwrap()).expect("the help can be run as it is");
}

#[tokio::test]
async fn a_key_that_is_none_is_found_out() {
    let server = server();
    let mut config = at(&server, "things");
    config.view = view(schema(), &[]);
    let error = refused(&config).await;
    assert_eq!((error.code(), error.is_transient()), ("SINK004", false));
    assert!(error.help().unwrap().contains("key = 'a, b'"));

    config.options.insert("key".to_owned(), "nme".to_owned());
    let error = refused(&config).await;
    assert_eq!(error.to_string(), "option key: the view has no column nme; it has id, name");

    config.options.insert("key".to_owned(), "name".to_owned());
    let mut sink = sink::open(config.clone()).await.unwrap();
    let one: Rows = [(1, "same".to_owned())].into();
    let two: Rows = [(1, "same".to_owned()), (2, "same".to_owned())].into();
    let both = difference(&Rows::new(), &two);
    let error =
        sink.write(Step { after: Time(0), upto: Time(1), changes: &both }).await.unwrap_err();
    assert_eq!(error.to_string(), "two rows of view things have the same key (name = same)");

    // Also when the two rows come in different steps.
    let mut sink = sink::open(config).await.unwrap();
    write(&mut *sink, 1, &Rows::new(), &one).await.unwrap();
    let error = write(&mut *sink, 2, &one, &two).await.unwrap_err();
    assert_eq!(error.code(), "SINK005", "{error}");
    assert_eq!(stored(&server, "things"), (1, one));
}

#[tokio::test]
async fn rows_of_unknown_origin_are_kept_unless_they_may_go() {
    let server = server();
    server.psql("create table things (id bigint primary key, name text)").unwrap();
    server.psql("insert into things select n, 'old' from generate_series(1, 9) n").unwrap();
    let mut config = at(&server, "things");
    let error = refused(&config).await;
    assert_eq!(error.code(), "SINK010");
    assert!(error.help().unwrap().contains("on_existing = 'replace'"));

    config.options.insert("on_existing".to_owned(), "replace".to_owned());
    let mut sink = sink::open(config).await.unwrap();
    let count = server.psql("select count(*) from things").unwrap();
    assert_eq!(count.trim(), "9", "nothing is removed before the first step");
    let rows: Rows = [(1, "new".to_owned())].into();
    write(&mut *sink, 4, &Rows::new(), &rows).await.unwrap();
    assert_eq!(stored(&server, "things"), (4, rows));
}

#[tokio::test]
async fn an_emptied_or_foreign_target_is_refused_with_the_repair() {
    let server = server();
    let mut config = at(&server, "things");
    let rows: Rows = (0..10).map(|id| (id, "x".to_owned())).collect();
    let mut sink = sink::open(config.clone()).await.unwrap();
    write(&mut *sink, 5, &Rows::new(), &rows).await.unwrap();
    drop(sink);

    server.psql("delete from things where id > 3").unwrap();
    let error = refused(&config).await;
    assert_eq!(error.code(), "SINK012");
    assert!(error.to_string().ends_with("should hold 10 rows at Time 5, and holds 4"), "{error}");

    server.psql("drop table things").unwrap();
    let error = refused(&config).await;
    assert_eq!(error.code(), "SINK012");
    let repair = error.help().unwrap();
    server.psql(repair.strip_prefix("to fill it anew, run: ").unwrap()).unwrap();
    let mut sink = sink::open(config.clone()).await.unwrap();
    assert_eq!(sink.held(), Time::ZERO, "after the repair it begins anew");
    write(&mut *sink, 6, &Rows::new(), &rows).await.unwrap();
    drop(sink);

    config.log_id = *b"another log's id";
    let error = refused(&config).await;
    assert_eq!(error.code(), "SINK011");
    assert!(
        error.help().unwrap().contains("delete from \"public\".evert_progress where sink = 'copy'")
    );
    assert_eq!(stored(&server, "things"), (6, rows), "a refusal changes nothing");
}

#[tokio::test]
async fn a_view_that_was_made_anew_does_not_inherit_the_rows_of_the_old_one() {
    let server = server();
    let mut config = at(&server, "things");
    let rows: Rows = (0..10).map(|id| (id, "x".to_owned())).collect();
    let mut sink = sink::open(config.clone()).await.unwrap();
    assert!(!sink.wants_rows(), "it has them already");
    write(&mut *sink, 5, &Rows::new(), &rows).await.unwrap();
    drop(sink);

    // The same name, and the same columns.
    config.definition = "fedcba9876543210".to_owned();
    let error = refused(&config).await;
    assert_eq!((error.code(), error.is_transient()), ("SINK009", false));
    assert!(error.to_string().contains("a view things that was defined otherwise"), "{error}");
    assert_eq!(stored(&server, "things"), (5, rows.clone()), "a refusal changes nothing");
    let repair = error.help().unwrap();
    server.psql(repair.strip_prefix("run: ").unwrap()).unwrap();
    let mut sink = sink::open(config.clone()).await.unwrap();
    assert_eq!(sink.held(), Time::ZERO, "after the repair it begins anew");
    let fewer: Rows = [(3, "x".to_owned())].into();
    write(&mut *sink, 6, &Rows::new(), &fewer).await.unwrap();
    assert_eq!(stored(&server, "things"), (6, fewer));
    drop(sink);

    config.view.name = "others".to_owned();
    let error = refused(&config).await;
    assert!(error.to_string().ends_with("it was filled from view things"), "{error}");
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_refused_with_the_statement_that_makes_it_fit() {
    let server = server();
    let cases = [
        ("create table t (id bigint, name text)", "it has no unique index on (\"id\")"),
        ("create table t (id bigint primary key)", "it has no column name"),
        ("create table t (id date primary key, name text)", "column id is date"),
        (
            "create table t (id bigint primary key, name text, other int not null)",
            "its column other needs a value",
        ),
    ];
    for (create, problem) in cases {
        server.psql(&format!("drop table if exists t; {create}")).unwrap();
        let error = refused(&at(&server, "t")).await;
        assert_eq!(error.code(), "SINK009", "{create}: {error}");
        assert!(error.to_string().contains(problem), "{create}: {error}");
        let ddl = error.help().unwrap();
        if !create.contains("date") {
            server.psql(ddl.strip_prefix("run: ").unwrap()).expect("the help can be run as it is");
            sink::open(at(&server, "t")).await.map(|_| ()).expect("and then the table fits");
        }
    }
    server.psql("create view v as select 1").unwrap();
    assert!(refused(&at(&server, "v")).await.to_string().contains("it is not a table"));
}

#[tokio::test]
async fn a_table_with_other_types_takes_what_loses_nothing() {
    let server = server();
    server.psql("create table t (name varchar(6), id int primary key, note text)").unwrap();
    let mut sink = sink::open(at(&server, "t")).await.unwrap();
    let mut rows: Rows = (0..400).map(|id| (id, format!("n{id}"))).collect();
    write(&mut *sink, 1, &Rows::new(), &rows).await.unwrap();
    let before = rows.clone();
    rows.remove(&7);
    rows.insert(8, "eight".to_owned());
    write(&mut *sink, 2, &before, &rows).await.unwrap();
    assert_eq!(stored(&server, "t"), (2, rows.clone()));
    // What does not fit is an error, not a shorter text.
    let before = rows.clone();
    rows.insert(9, "far too long".to_owned());
    let error = write(&mut *sink, 3, &before, &rows).await.unwrap_err();
    assert_eq!((error.code(), error.is_transient()), ("SINK017", false));
    assert_eq!(stored(&server, "t"), (2, before));
}

#[tokio::test]
async fn two_writers_are_one_too_many() {
    let server = server();
    let config = at(&server, "things");
    let first = sink::open(config.clone()).await.unwrap();
    let error = refused(&config).await;
    assert_eq!((error.code(), error.is_transient()), ("SINK014", true));
    assert!(error.to_string().contains("evert from 127.0.0.1"), "{error}");
    drop(first);
    sink::open(config).await.map(|_| ()).expect("the lock goes with the session");
}

#[tokio::test]
async fn a_login_that_cannot_succeed_is_not_tried_again() {
    let options = PostgresOptions { auth: Auth::Scram, ..PostgresOptions::quick() };
    let server = Postgres::start(options).unwrap();
    let mut config = at(&server, "things");
    sink::open(config.clone()).await.map(|_| ()).expect("the right password is accepted");
    let right = config.url.clone();
    config.url = right.replace(PASSWORD, "wrong");
    let error = refused(&config).await;
    assert_eq!((error.code(), error.is_transient()), ("SINK016", false));
    assert!(error.to_string().contains("password authentication failed"), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");

    config.url = right.replace("/postgres/", "/nowhere/");
    let error = refused(&config).await;
    assert_eq!((error.code(), error.is_transient()), ("SINK016", false), "{error}");

    let port = servers::free_port().unwrap();
    config.url = format!("postgres://postgres@127.0.0.1:{port}/postgres/things");
    let error = refused(&config).await;
    assert_eq!((error.code(), error.is_transient()), ("SINK015", true), "{error}");
}

#[tokio::test]
async fn a_type_without_counterpart_is_refused_before_anything_is_created() {
    let server = server();
    let mut config = at(&server, "things");
    let odd = Field::new("odd", DataType::Duration(arrow::datatypes::TimeUnit::Second), true);
    let id = Field::new("id", DataType::Int64, true);
    config.view = view(Arc::new(Schema::new(vec![id, odd])), &[0]);
    let error = refused(&config).await;
    assert_eq!(error.code(), "SINK007");
    assert_eq!(server.psql("select to_regclass('things') is null").unwrap().trim(), "t");
}
