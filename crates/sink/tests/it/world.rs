//! What the tests share: a small view whose rows change at random, and a server to copy it to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use change::{ChangeBatch, Time, consolidate};
use servers::{Postgres, PostgresOptions};
use sink::{Sink, SinkConfig, SinkError, Step};
use view::ViewInfo;

pub(crate) const LOG_ID: [u8; 16] = *b"0123456789abcdef";

/// The rows of a view `(id, name)` with key `id`.
pub(crate) type Rows = BTreeMap<i64, String>;

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

pub(crate) fn view(schema: SchemaRef, key: &[usize]) -> ViewInfo {
    ViewInfo { name: "things".to_owned(), schema, key: key.to_vec(), order: Vec::new() }
}

pub(crate) fn config(url: String, data_dir: &Path) -> SinkConfig {
    SinkConfig {
        name: "copy".to_owned(),
        url,
        options: BTreeMap::new(),
        view: view(schema(), &[0]),
        definition: "0123456789abcdef".to_owned(),
        log_id: LOG_ID,
        data_dir: data_dir.to_owned(),
        once: false,
    }
}

pub(crate) fn server() -> Postgres {
    Postgres::start(PostgresOptions::quick()).expect("a PostgreSQL server for the test")
}

pub(crate) fn table_url(server: &Postgres, table: &str) -> String {
    format!("{}/{table}", server.url("postgres"))
}

/// The changes that lead from one state to another.
pub(crate) fn difference(before: &Rows, after: &Rows) -> ChangeBatch {
    let rows = |rows: &Rows, diff: i64| {
        rows.iter().map(|(id, name)| (*id, name.clone(), diff)).collect::<Vec<_>>()
    };
    let all: Vec<_> = [rows(before, -1), rows(after, 1)].concat();
    let ids: ArrayRef = Arc::new(all.iter().map(|row| row.0).collect::<Int64Array>());
    let names: ArrayRef = Arc::new(all.iter().map(|row| Some(&row.1)).collect::<StringArray>());
    let batch = RecordBatch::try_new(schema(), vec![ids, names]).unwrap();
    let changes = ChangeBatch::new(batch, all.iter().map(|row| row.2).collect());
    consolidate(&schema(), &[changes]).unwrap()
}

/// A small generator: the same seed gives the same history.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }

    /// Changes about `changes` rows among `ids` ids.
    pub(crate) fn mutate(&mut self, rows: &mut Rows, ids: u64, changes: u64) {
        for _ in 0..changes {
            let id = self.below(ids) as i64;
            if self.below(3) == 0 {
                rows.remove(&id);
            } else {
                rows.insert(id, format!("name {}", self.below(1_000)));
            }
        }
    }
}

/// What the table holds, and the Time that its progress tells, read together.
pub(crate) fn stored(server: &Postgres, table: &str) -> (u64, Rows) {
    let sql = format!(
        "select '' || coalesce((select time from evert_progress where sink = 'copy'), 0)
         union all (select id || '|' || name from {table} order by id)"
    );
    let text = server.psql(&sql).unwrap();
    let mut lines = text.lines();
    let time = lines.next().unwrap().parse().unwrap();
    let row = |line: &str| {
        let (id, name) = line.split_once('|').unwrap();
        (id.parse().unwrap(), name.to_owned())
    };
    (time, lines.map(row).collect())
}

/// Writes the step that leads to `after` at Time `upto`.
pub(crate) async fn write(
    sink: &mut dyn Sink,
    upto: u64,
    before: &Rows,
    after: &Rows,
) -> Result<(), SinkError> {
    let changes = difference(before, after);
    sink.write(Step { after: sink.held(), upto: Time(upto), changes: &changes }).await
}
