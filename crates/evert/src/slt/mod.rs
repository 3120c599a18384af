//! sqllogictest: files of statements and queries, each run on a fresh instance, with what they should come to.

mod record;
mod shown;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use regex::Regex;

use crate::failure::Failure;
use crate::output;
use crate::session::{Outcome, Session};
use crate::slt::record::{Expected, Kind, Record, Sort, Wanted};

/// How deep files may include files.
const INCLUDES_MAX: usize = 16;

/// How files are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Compare every view with its query after every change.
    pub(crate) verify: bool,
    /// Write what was found into the file, instead of failing.
    pub(crate) rewrite: bool,
}

/// What a file came to.
#[derive(Debug)]
pub(crate) struct Report {
    /// How many records were run.
    pub(crate) records: usize,
    /// The first record that is not as expected, in words; the rest was not run.
    pub(crate) failure: Option<String>,
    /// How many records were changed.
    pub(crate) rewritten: usize,
}

/// A directory that vanishes with its value.
struct Fresh(PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Runs a file on an instance of its own.
pub(crate) async fn run_file(path: &Path, options: Options) -> Result<Report, Failure> {
    let fresh = Fresh(std::env::temp_dir().join(format!("evert-test-{}", uuid::Uuid::new_v4())));
    let session = Session::open(&fresh.0, options.verify)?;
    let mut runner = Runner {
        session,
        options,
        sort: Sort::None,
        hash_threshold: 0,
        labels: BTreeMap::new(),
        records: 0,
        rewritten: 0,
        edits: Vec::new(),
    };
    let text = read(path)?;
    let failure = match runner.run(path, &text, 0).await? {
        Flow::Failed(failure) => Some(failure),
        Flow::On | Flow::Halted => None,
    };
    let rewritten = runner.rewritten;
    if rewritten > 0 {
        let text = edited(&text, &runner.edits);
        std::fs::write(path, text)
            .map_err(|error| Failure::io(format!("cannot write {}", path.display()), error))?;
    }
    Ok(Report { records: runner.records, failure, rewritten })
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::io(format!("cannot read {}", path.display()), error))
}

/// Whether the file goes on.
enum Flow {
    On,
    Halted,
    Failed(String),
}

/// Lines that are replaced by others.
#[derive(Debug)]
struct Edit {
    lines: Range<usize>,
    by: Vec<String>,
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for edit in edits.iter().rev() {
        lines.splice(edit.lines.clone(), edit.by.iter().cloned());
    }
    lines.join("\n") + "\n"
}

/// A file that is being run.
struct Runner {
    session: Session,
    options: Options,
    sort: Sort,
    hash_threshold: usize,
    /// The rows of the first query of each label.
    labels: BTreeMap<String, Vec<String>>,
    records: usize,
    /// How many records the edits are for.
    rewritten: usize,
    /// Ascending by line.
    edits: Vec<Edit>,
}

/// What a record should be, and what it is.
struct Mismatch {
    what: String,
    /// The difference, or nothing.
    difference: String,
    /// How the record would be right.
    edits: Vec<Edit>,
}

impl Mismatch {
    fn told(&self, record: &Record, place: &str) -> String {
        let sql = match &record.kind {
            Kind::Statement { sql, .. } | Kind::Query { sql, .. } => sql.as_str(),
            Kind::HashThreshold(_) | Kind::Sort(_) | Kind::Include(_) | Kind::Halt => "",
        };
        let (sql, difference) = (indented(sql), indented(&self.difference));
        format!("{place}: {}\n{sql}{difference}", self.what)
    }
}

impl Runner {
    async fn run(&mut self, path: &Path, text: &str, depth: usize) -> Result<Flow, Failure> {
        let shown = |line: usize| format!("{}:{}", path.display(), line + 1);
        let records = match record::records(text) {
            Ok(records) => records,
            Err((line, reason)) => return Ok(Flow::Failed(format!("{}: {reason}\n", shown(line)))),
        };
        for record in records {
            self.records += 1;
            let mismatch = match &record.kind {
                Kind::Halt => return Ok(Flow::Halted),
                Kind::Sort(sort) => {
                    self.sort = *sort;
                    continue;
                }
                Kind::HashThreshold(count) => {
                    self.hash_threshold = *count;
                    continue;
                }
                Kind::Include(_) if depth == INCLUDES_MAX => {
                    return Ok(Flow::Failed(format!("{}: files include each other\n", shown(0))));
                }
                Kind::Include(other) => {
                    let path = path.parent().unwrap_or(Path::new(".")).join(other);
                    let text = read(&path)?;
                    match Box::pin(self.run(&path, &text, depth + 1)).await? {
                        Flow::On => continue,
                        ended @ (Flow::Halted | Flow::Failed(_)) => return Ok(ended),
                    }
                }
                Kind::Statement { sql, expected } => self.statement(&record, sql, expected).await,
                Kind::Query { sql, wanted } => self.query(&record, sql, wanted).await,
            };
            let mismatch = match mismatch {
                // A view that is wrong: no record can expect that.
                Err(wrong @ Failure::Session(_)) => {
                    let (what, difference) = (wrong.code().to_owned(), wrong.to_string());
                    let mismatch = Mismatch { what, difference, edits: Vec::new() };
                    return Ok(Flow::Failed(mismatch.told(&record, &shown(record.line))));
                }
                mismatch => mismatch?,
            };
            match mismatch {
                None => {}
                Some(mismatch) if self.options.rewrite && depth == 0 => {
                    self.rewritten += 1;
                    self.edits.extend(mismatch.edits);
                }
                Some(mismatch) => {
                    return Ok(Flow::Failed(mismatch.told(&record, &shown(record.line))));
                }
            }
        }
        Ok(Flow::On)
    }

    /// Runs SQL; the outer error ends the file, the inner one is what a record may expect.
    async fn execute(&mut self, sql: &str) -> Result<Result<Outcome, String>, Failure> {
        match self.session.execute(sql).await {
            Ok(mut outcomes) => Ok(Ok(outcomes.pop().unwrap_or(Outcome::Done("nothing")))),
            Err(failure) => match failure.of_statement() {
                Some(text) => Ok(Err(text)),
                None => Err(failure),
            },
        }
    }

    async fn statement(
        &mut self,
        record: &Record,
        sql: &str,
        expected: &Expected,
    ) -> Result<Option<Mismatch>, Failure> {
        let outcome = self.execute(sql).await?;
        let what = match (expected, &outcome) {
            (Expected::Ok, Ok(_)) => None,
            (Expected::Ok | Expected::Count(_), Err(error)) => Some(format!("failed: {error}")),
            (Expected::Count(expected), Ok(outcome)) => {
                let found = count(outcome);
                let rows = output::counted(found, "row");
                (found != *expected).then(|| format!("wrote {rows}, not {expected}"))
            }
            (Expected::Error(_), Ok(_)) => Some("succeeded, but should fail".to_owned()),
            (Expected::Error(pattern), Err(error)) => {
                let matches = pattern.is_empty()
                    || error.contains(pattern.as_str())
                    || Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(error));
                (!matches).then(|| format!("failed otherwise than with `{pattern}`: {error}"))
            }
        };
        let first = match (&outcome, expected) {
            (Ok(outcome), Expected::Count(_)) => format!("statement count {}", count(outcome)),
            (Ok(_), Expected::Ok | Expected::Error(_)) => "statement ok".to_owned(),
            (Err(error), _) => format!("statement error {}", code_of(error)),
        };
        let (difference, edits) = (String::new(), vec![record.first_line(first)]);
        Ok(what.map(|what| Mismatch { what, difference, edits }))
    }

    async fn query(
        &mut self,
        record: &Record,
        sql: &str,
        wanted: &Wanted,
    ) -> Result<Option<Mismatch>, Failure> {
        let (schema, rows) = match self.execute(sql).await? {
            Ok(Outcome::Rows(schema, rows)) => (schema, rows),
            Ok(Outcome::Explained(schema, rows)) => (schema, vec![rows]),
            Ok(Outcome::Done(_) | Outcome::Wrote(..)) => {
                let edits = vec![record.first_line("statement ok".to_owned())];
                let what = "is no query: it gives no rows".to_owned();
                return Ok(Some(Mismatch { what, difference: String::new(), edits }));
            }
            Err(error) => {
                let edits = vec![
                    record.first_line(format!("query error {}", code_of(&error))),
                    Edit { lines: wanted.lines.clone(), by: Vec::new() },
                ];
                let (what, difference) = (format!("failed: {error}"), String::new());
                return Ok(Some(Mismatch { what, difference, edits }));
            }
        };
        let sort = wanted.sort.unwrap_or(self.sort);
        let cells = shown::cells(&rows);
        let lines = shown::lines(cells.clone(), sort);
        if let Some(label) = &wanted.label {
            let before = self.labels.entry(label.clone()).or_insert_with(|| lines.clone());
            if *before != lines {
                let what = format!("gives other rows than the query before it labelled {label}");
                let difference = shown::difference(before, &lines);
                return Ok(Some(Mismatch { what, difference, edits: Vec::new() }));
            }
        }
        let values = cells.len() * schema.fields().len();
        let is_hash = wanted.rows.first().is_some_and(|row| row.contains(" values hashing to "));
        let lines = if is_hash || (self.hash_threshold > 0 && values > self.hash_threshold) {
            vec![shown::hashed(cells.clone(), sort)]
        } else {
            lines
        };
        Ok(compared(record, wanted, &Found { schema, sort, cells, lines }))
    }
}

/// The answer of a query.
struct Found {
    schema: SchemaRef,
    sort: Sort,
    cells: Vec<Vec<String>>,
    /// As a file would have them.
    lines: Vec<String>,
}

/// Compares an answer with what is wanted.
fn compared(record: &Record, wanted: &Wanted, found: &Found) -> Option<Mismatch> {
    let expected = expected_lines(wanted, found.sort, &found.cells);
    let squeezed: Vec<String> = found.lines.iter().map(|line| shown::squeezed(line)).collect();
    let by = std::iter::once("----".to_owned()).chain(found.lines.iter().cloned()).collect();
    let rows = Edit { lines: wanted.lines.clone(), by };
    if !shown::are_types(&found.schema, &wanted.types) {
        let types = shown::types(&found.schema);
        let sort = wanted.sort.map_or("", |sort| match sort {
            Sort::None => " nosort",
            Sort::Rows => " rowsort",
            Sort::Values => " valuesort",
        });
        let label = wanted.label.as_ref().map(|label| format!(" {label}")).unwrap_or_default();
        let edits = vec![record.first_line(format!("query {types}{sort}{label}")), rows];
        let what = format!("has columns of the types {types}, not {}", wanted.types);
        return Some(Mismatch { what, difference: String::new(), edits });
    }
    if expected == squeezed {
        return None;
    }
    let difference = shown::difference(&expected, &squeezed);
    let what = "gives other rows (- expected, + found)".to_owned();
    Some(Mismatch { what, difference, edits: vec![rows] })
}

impl Record {
    /// Another first line for the record.
    fn first_line(&self, text: String) -> Edit {
        Edit { lines: self.line..self.line + 1, by: vec![text] }
    }
}

/// The expected rows as they are compared: one a line, blanks squeezed, sorted as the found ones are.
fn expected_lines(wanted: &Wanted, sort: Sort, found: &[Vec<String>]) -> Vec<String> {
    let mut lines: Vec<String> = wanted.rows.iter().map(|row| shown::squeezed(row)).collect();
    let width = found.first().map_or(1, Vec::len);
    // SQLite's files have one value a line.
    if sort != Sort::Values && width > 1 && lines.len() == found.len() * width {
        lines = lines.chunks(width).map(|row| row.join(" ")).collect();
    }
    match sort {
        Sort::None => {}
        // The found rows are sorted cell by cell; so are these, as far as cells can be told apart.
        Sort::Rows => {
            let key = |line: &String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
            let mut rows: Vec<String> =
                found.iter().map(|row| shown::squeezed(&row.join(" "))).collect();
            let mut sorted = lines.clone();
            sorted.sort();
            rows.sort();
            if sorted == rows {
                let found = shown::lines(found.to_vec(), sort);
                return found.iter().map(|line| shown::squeezed(line)).collect();
            }
            lines.sort_by_key(key);
        }
        Sort::Values => lines.sort(),
    }
    lines
}

fn count(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Done(_) => 0,
        Outcome::Wrote(_, rows) => *rows,
        Outcome::Explained(_, rows) => rows.num_rows() as u64,
        Outcome::Rows(_, rows) => rows.iter().map(|batch| batch.num_rows() as u64).sum(),
    }
}

/// The code at the beginning of an error's text.
fn code_of(error: &str) -> &str {
    error.split(':').next().unwrap_or_default()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
