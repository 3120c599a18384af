//! `evert query` and `evert search`: rows, asked of a running process, or of a directory at rest.

use std::path::Path;
use std::sync::Arc;

use plan::ir::Program;
use serde_json::{Map, Value};
use serve::client::{Client, ClientError};
use view::search::SearchReader;
use view::{QueryResult, ViewInfo, Views};

use crate::cli::{OutputFormat, QueryArgs, SearchArgs};
use crate::directory;
use crate::engine::{Engine, Maintenance};
use crate::failure::Failure;
use crate::intent::Opened;
use crate::knowledge::knowledge;
use crate::{output, scrubbing};

/// Prints the rows of a query.
pub(crate) async fn query(arguments: QueryArgs) -> Result<(), Failure> {
    let root = arguments.dir.path();
    directory::must_exist(&root)?;
    let client = Client::new(&directory::socket(&root));
    let result = match client.query(&arguments.sql, None).await {
        Ok(answer) => {
            let lacking = answer.lacking.into_iter().map(view::Lacking::from).collect();
            QueryResult { schema: answer.schema, rows: answer.batches, lacking }
        }
        Err(ClientError::NotRunning { .. }) => query_at_rest(&root, &arguments.sql).await?,
        Err(error) => return Err(error.into()),
    };
    output::print_rows(&result.schema, &result.rows, output::chosen(arguments.output))?;
    output::warn(&result.lacking)
}

async fn query_at_rest(root: &Path, sql: &str) -> Result<QueryResult, Failure> {
    let opened = Opened::at_rest(root)?;
    let (_, views) = rebuild(&opened)?;
    Ok(views.snapshot().query(sql).await?)
}

/// Computes the views of a directory at rest from its log.
pub(crate) fn rebuild(opened: &Opened) -> Result<(Program, Arc<Views>), Failure> {
    let tables = opened.catalogue.tables()?;
    let program = opened.catalogue.program(tables)?;
    let views = Views::new(program.views.iter().map(ViewInfo::from).collect());
    let reader = opened.log.reader(change::Time::ZERO);
    let (plans, forgotten) = (&program.views, opened.catalogue.forgotten());
    let options = knowledge(plans, &program.sources, forgotten);
    let maintenance = Maintenance { plans, options, forgotten };
    Engine::new(reader, &maintenance, Arc::clone(&views), Vec::new())?.run_to_end()?;
    let damage = opened.log.scrubbed().damage;
    views.show_damage(&damage.iter().map(scrubbing::row).collect::<Vec<_>>())?;
    Ok((program, views))
}

/// Prints the rows that a search finds, the best first.
pub(crate) async fn search(arguments: SearchArgs) -> Result<(), Failure> {
    let root = arguments.dir.path();
    directory::must_exist(&root)?;
    let limit = usize::try_from(arguments.limit).expect("32 bits fit");
    let client = Client::new(&directory::socket(&root));
    let rows = match client.search(&arguments.view, &arguments.query, limit).await {
        Ok(found) => found.hits.into_iter().map(|hit| hit.row).collect(),
        Err(ClientError::NotRunning { .. }) => {
            let index = SearchReader::open(&directory::search_dir(&root, &arguments.view))?;
            let found = index.search(&arguments.query, limit)?;
            found.hits.into_iter().map(|hit| hit.row).collect()
        }
        Err(error) => return Err(error.into()),
    };
    print_objects(rows, output::chosen(arguments.output))
}

/// Prints JSON objects that share their keys.
pub(crate) fn print_objects(
    rows: Vec<Map<String, Value>>,
    format: OutputFormat,
) -> Result<(), Failure> {
    let names: Vec<String> =
        rows.first().map(|row| row.keys().cloned().collect()).unwrap_or_default();
    let cell = |row: &Map<String, Value>, name: &String| match row.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let count = rows.len() as u64;
    let text = match format {
        OutputFormat::Json => {
            Value::Array(rows.into_iter().map(Value::Object).collect()).to_string() + "\n"
        }
        OutputFormat::Ndjson => {
            rows.into_iter().map(|row| Value::Object(row).to_string() + "\n").collect()
        }
        OutputFormat::Csv => {
            csv_of(&names, rows.iter().map(|row| names.iter().map(|name| cell(row, name))))
        }
        OutputFormat::Table => {
            let header: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut table = output::table(&header);
            for row in &rows {
                table.add_row(names.iter().map(|name| cell(row, name)));
            }
            format!("{}\n{}\n", output::drawn(&table), output::counted(count, "row"))
        }
    };
    output::print(text.as_bytes())
}

fn csv_of(names: &[String], rows: impl Iterator<Item = impl Iterator<Item = String>>) -> String {
    let quoted = |text: &str| {
        if text.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.to_owned()
        }
    };
    let line = |cells: Vec<String>| cells.join(",") + "\n";
    let header = line(names.iter().map(|name| quoted(name)).collect());
    let body = rows.map(|row| line(row.map(|cell| quoted(&cell)).collect()));
    std::iter::once(header).chain(body).collect()
}
