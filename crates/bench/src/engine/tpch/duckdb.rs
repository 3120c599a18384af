//! The same queries in DuckDB: its wheel for Python, installed when it is missing, on tables read from CSV files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::csv::WriterBuilder;
use arrow::datatypes::DataType;

use super::data::Table;
use inputs::TPCH;

use crate::Maybe;

/// The version that is measured.
const VERSION: &str = "2.0.1";
/// The best of so many runs counts.
const RUNS: &str = "3";

/// Runs all queries anew; milliseconds by the query's place. Says loudly when that fails, and goes on without.
pub(crate) fn anew(tables: &[Table]) -> BTreeMap<usize, f64> {
    measure(tables).unwrap_or_else(|error| {
        eprintln!("DuckDB is NOT measured: {error}");
        BTreeMap::new()
    })
}

fn measure(tables: &[Table]) -> Maybe<BTreeMap<usize, f64>> {
    let python = python()?;
    let directory = tempfile::tempdir()?;
    write(directory.path(), tables)?;
    let mut times = BTreeMap::new();
    for line in run(&python, directory.path())?.lines() {
        let (number, time) = line.split_once(' ').ok_or("a line without a time")?;
        times.insert(number.parse::<usize>()? - 1, time.parse()?);
    }
    Ok(times)
}

/// Runs the statements and queries in a directory; returns what was printed.
fn run(python: &Path, directory: &Path) -> Maybe<String> {
    let mut command = Command::new(python);
    command.args(["-c", include_str!("duckdb.py")]).arg(directory).arg(RUNS);
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("its program ended with {}: {said}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Writes a table that is in a CSV file to a Parquet file beside it; returns its bytes.
pub(crate) fn parquet(directory: &Path, table: &Table, codec: &str) -> Maybe<u64> {
    let mut setup = read_in(table, directory)?;
    let name = &table.schema.name().table;
    let file = directory.join(format!("{name}.{codec}.parquet"));
    writeln!(setup, "copy {name} to '{}' (format parquet, codec '{codec}');", file.display())?;
    fs::write(directory.join("setup.sql"), setup)?;
    run(&python()?, directory)?;
    Ok(fs::metadata(file)?.len())
}

/// A Python that has DuckDB; `DUCKDB_PYTHON` names one.
fn python() -> Maybe<PathBuf> {
    if let Some(path) = std::env::var_os("DUCKDB_PYTHON") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).ok_or("this program has no directory")?;
    let directory = target.join(format!("duckdb-{VERSION}"));
    let python = directory.join("bin/python");
    let has = |python: &Path| {
        let import = Command::new(python).args(["-c", "import duckdb"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    if has(&python) {
        return Ok(python);
    }
    eprintln!("installing DuckDB's wheel");
    let made = Command::new("python3").args(["-m", "venv"]).arg(&directory).output()?;
    if !made.status.success() {
        return Err("`python3 -m venv` failed".into());
    }
    let wheel = format!("duckdb=={VERSION}");
    let pip = Command::new(&python).args(["-m", "pip", "install", "--quiet", &wheel]).output()?;
    if !pip.status.success() {
        return Err(format!("pip: {}", String::from_utf8_lossy(&pip.stderr)).into());
    }
    Ok(python)
}

/// Writes the refreshed tables, the statements that read them, and the queries.
fn write(directory: &Path, tables: &[Table]) -> Maybe<()> {
    let mut setup = String::new();
    for table in tables {
        write_csv(directory, table)?;
        setup.push_str(&read_in(table, directory)?);
    }
    fs::write(directory.join("setup.sql"), setup)?;
    for (at, query) in TPCH.iter().enumerate() {
        fs::write(directory.join(format!("{}.sql", at + 1)), query)?;
    }
    Ok(())
}

/// Writes a refreshed table to a CSV file in a directory; returns its bytes.
pub(crate) fn write_csv(directory: &Path, table: &Table) -> Maybe<u64> {
    let file = csv(directory, table);
    let mut writer =
        WriterBuilder::new().with_header(false).build(BufWriter::new(fs::File::create(&file)?));
    for batch in &table.refreshed {
        writer.write(batch)?;
    }
    drop(writer);
    Ok(fs::metadata(file)?.len())
}

fn csv(directory: &Path, table: &Table) -> PathBuf {
    directory.join(format!("{}.csv", table.schema.name().table))
}

/// The statements that read a table's CSV file.
fn read_in(table: &Table, directory: &Path) -> Result<String, std::fmt::Error> {
    let (mut text, name) = (String::new(), &table.schema.name().table);
    let fields = table.schema.columns().fields().iter();
    let columns = fields.map(|field| format!("{} {}", field.name(), sql(field.data_type())));
    let columns = columns.collect::<Vec<_>>().join(", ");
    writeln!(text, "create table {name} ({columns});")?;
    writeln!(text, "copy {name} from '{}' (header false);", csv(directory, table).display())?;
    Ok(text)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the tables have no other types")]
fn sql(data_type: &DataType) -> String {
    match data_type {
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Date32 => "date".to_owned(),
        _ => "varchar".to_owned(),
    }
}
