//! A sqllogictest file, cut into records that know their lines.
//!
//! The format is that of SQLite's and of the crate `sqllogictest`: records are parted by empty lines, `#` begins a
//! comment, and what is expected stands behind `----`. `docs/operations.md` describes what is read.

use std::ops::Range;

/// What a file's records are told apart by: the engine that they run on.
const ENGINE: &str = "evert";

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// The line of its first word, from 0.
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Statement {
        sql: String,
        expected: Expected,
    },
    Query {
        sql: String,
        wanted: Wanted,
    },
    /// `hash-threshold N`.
    HashThreshold(usize),
    /// `control sortmode MODE`.
    Sort(Sort),
    /// `include PATH`.
    Include(String),
    /// Nothing behind it is run.
    Halt,
}

/// What a statement should come to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expected {
    Ok,
    Count(u64),
    /// An error whose text matches.
    Error(String),
}

/// The rows that a query should give.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) types: String,
    pub(super) sort: Option<Sort>,
    pub(super) label: Option<String>,
    pub(super) rows: Vec<String>,
    /// The lines of the record's body behind the SQL: `----` and the rows. Empty when there are none.
    pub(super) lines: Range<usize>,
}

/// How rows are sorted before they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    None,
    Rows,
    Values,
}

impl Sort {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "nosort" => Some(Self::None),
            "rowsort" => Some(Self::Rows),
            "valuesort" => Some(Self::Values),
            _ => None,
        }
    }
}

/// A line that cannot be read, from 0, and why.
pub(super) type Unreadable = (usize, String);

/// Cuts a file into the records that are run here.
pub(super) fn records(text: &str) -> Result<Vec<Record>, Unreadable> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let mut records = Vec::new();
    let mut at = 0;
    let mut skipped = false;
    while at < lines.len() {
        let line = at;
        at += 1;
        let words: Vec<&str> = lines[line].split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["skipif", engine, ..] => skipped |= *engine == ENGINE,
            ["onlyif", engine, ..] => skipped |= *engine != ENGINE,
            words => {
                let body = Body::read(&lines, at);
                let kind = kind(words, lines[line], &body).map_err(|reason| (line, reason))?;
                if matches!(kind, Kind::Statement { .. } | Kind::Query { .. }) {
                    at = body.end;
                }
                if !std::mem::take(&mut skipped) {
                    records.push(Record { line, kind });
                }
            }
        }
    }
    Ok(records)
}

/// What stands below a record's first line.
struct Body {
    sql: String,
    rows: Vec<String>,
    lines: Range<usize>,
    end: usize,
}

impl Body {
    fn read(lines: &[&str], from: usize) -> Self {
        let until = |from: usize, ends: &dyn Fn(&str) -> bool| {
            let found = lines[from..].iter().position(|line| ends(line));
            found.map_or(lines.len(), |found| from + found)
        };
        let sql_end = until(from, &|line| line.is_empty() || line == "----");
        let sql = lines[from..sql_end].join("\n");
        if lines.get(sql_end) != Some(&"----") {
            return Self { sql, rows: Vec::new(), lines: sql_end..sql_end, end: sql_end };
        }
        let end = until(sql_end, &str::is_empty);
        let rows = lines[sql_end + 1..end].iter().map(|line| (*line).to_owned()).collect();
        Self { sql, rows, lines: sql_end..end, end }
    }
}

fn kind(words: &[&str], line: &str, body: &Body) -> Result<Kind, String> {
    let sql = body.sql.clone();
    match words {
        ["statement", "ok"] => Ok(Kind::Statement { sql, expected: Expected::Ok }),
        ["statement", "count", count] => {
            let count = count.parse().map_err(|_no| format!("{count} is not a count"))?;
            Ok(Kind::Statement { sql, expected: Expected::Count(count) })
        }
        ["statement" | "query", "error", ..] => {
            let pattern = line.split_once("error").map_or("", |(_, pattern)| pattern.trim());
            let pattern =
                if pattern.is_empty() { body.rows.join("\n") } else { pattern.to_owned() };
            Ok(Kind::Statement { sql, expected: Expected::Error(pattern) })
        }
        ["query", rest @ ..] => {
            let mut wanted = Wanted {
                types: rest.first().copied().unwrap_or_default().to_owned(),
                sort: None,
                label: None,
                rows: body.rows.clone(),
                lines: body.lines.clone(),
            };
            for word in rest.iter().skip(1) {
                match Sort::parse(word) {
                    Some(sort) => wanted.sort = Some(sort),
                    None => wanted.label = Some((*word).to_owned()),
                }
            }
            Ok(Kind::Query { sql, wanted })
        }
        ["hash-threshold", count] => {
            let count = count.parse().map_err(|_no| format!("{count} is not a count"))?;
            Ok(Kind::HashThreshold(count))
        }
        ["control", "sortmode", mode] => {
            let sort = Sort::parse(mode).ok_or_else(|| format!("there is no sort mode {mode}"))?;
            Ok(Kind::Sort(sort))
        }
        ["include", path] => Ok(Kind::Include((*path).to_owned())),
        ["halt"] => Ok(Kind::Halt),
        [first, ..] => Err(format!(
            "a record does not begin with `{first}`; there are statement, query, include, halt, \
             skipif, onlyif, hash-threshold and control sortmode"
        )),
        [] => Err("an empty record".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_know_their_lines_and_what_they_expect() {
        let text = "# a comment\nstatement ok\ncreate table t\n  (id int)\n\nonlyif other\nhalt\n\n\
                    statement error TAB001: .*\ninsert\n\nquery IT rowsort same\nselect 1\n----\n\
                    1 a\n2 b\n\nskipif evert\nstatement count 3\nx\n\nstatement count 2\ny\n";
        let records = records(text).unwrap();
        let lines: Vec<usize> = records.iter().map(|record| record.line).collect();
        assert_eq!(lines, [1, 8, 11, 21]);
        let statement = |sql: &str, expected| Kind::Statement { sql: sql.to_owned(), expected };
        assert_eq!(records[0].kind, statement("create table t\n  (id int)", Expected::Ok));
        let error = Expected::Error("TAB001: .*".to_owned());
        assert_eq!(records[1].kind, statement("insert", error));
        let wanted = Wanted {
            types: "IT".to_owned(),
            sort: Some(Sort::Rows),
            label: Some("same".to_owned()),
            rows: vec!["1 a".to_owned(), "2 b".to_owned()],
            lines: 13..16,
        };
        assert_eq!(records[2].kind, Kind::Query { sql: "select 1".to_owned(), wanted });
        assert_eq!(records[3].kind, statement("y", Expected::Count(2)));
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let (line, reason) = records("statement ok\nx\n\nstatment ok\n").unwrap_err();
        assert_eq!(line, 3);
        assert!(reason.starts_with("a record does not begin with `statment`"), "{reason}");
    }
}
