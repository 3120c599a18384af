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
    let mut command = Command::new(python);
    command.args(["-c", include_str!("duckdb.py")]).arg(directory.path()).arg(RUNS);
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("its program ended with {}: {said}", output.status).into());
    }
    let mut times = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let (number, time) = line.split_once(' ').ok_or("a line without a time")?;
        times.insert(number.parse::<usize>()? - 1, time.parse()?);
    }
    Ok(times)
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
        let name = &table.schema.name().table;
        let file = directory.join(format!("{name}.csv"));
        let out = BufWriter::new(fs::File::create(&file)?);
        let mut writer = WriterBuilder::new().with_header(false).build(out);
        for batch in &table.refreshed {
            writer.write(batch)?;
        }
        let fields = table.schema.columns().fields().iter();
        let columns = fields.map(|field| format!("{} {}", field.name(), sql(field.data_type())));
        let columns = columns.collect::<Vec<_>>().join(", ");
        writeln!(setup, "create table {name} ({columns});")?;
        writeln!(setup, "copy {name} from '{}' (header false);", file.display())?;
    }
    fs::write(directory.join("setup.sql"), setup)?;
    for (at, query) in TPCH.iter().enumerate() {
        fs::write(directory.join(format!("{}.sql", at + 1)), query)?;
    }
    Ok(())
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
