//! An explained plan, drawn as a tree with its numbers aligned.

use indicatif::{HumanBytes, HumanCount};
use serde_json::Value;
use serve::api::Row;

/// The letters of an operator that are shown.
const OPERATOR_LETTERS_MAX: usize = 72;

/// How much longer than the mean a worker takes before it is told.
const SKEW: u64 = 2;

/// A column of the drawing: its title, whether it is aligned to the right, and its cells.
struct Column {
    title: &'static str,
    is_right: bool,
    cells: Vec<String>,
}

/// Draws the rows of an explained plan.
pub(crate) fn drawn(rows: &[Row]) -> String {
    let mut columns = vec![Column { title: "operator", is_right: false, cells: branches(rows) }];
    let is_analyzed = rows.iter().any(|row| row.contains_key("time_ns"));
    let titles: &[(&'static str, &str)] = match is_analyzed {
        true => &[("batches", "batches"), ("rows in", "rows_in"), ("rows out", "rows_out")],
        false => &[],
    };
    if is_analyzed {
        columns.extend(times(rows));
    }
    // The view itself has nothing but its time.
    let of_operators = |key: &str, shown: &dyn Fn(u64) -> String| -> Vec<String> {
        let cells = rows.iter().enumerate();
        cells
            .map(|(at, row)| number(row, key).filter(|_| at > 0).map_or_else(String::new, shown))
            .collect()
    };
    for (title, key) in titles {
        let cells = of_operators(key, &|count| HumanCount(count).to_string());
        columns.push(Column { title, is_right: true, cells });
    }
    if is_analyzed {
        let unless_none = |shown: &dyn Fn(u64) -> String, count: u64| match count {
            0 => String::new(),
            count => shown(count),
        };
        let counted = |count| HumanCount(count).to_string();
        let cells = of_operators("kept_rows", &|count| unless_none(&counted, count));
        columns.push(Column { title: "kept rows", is_right: true, cells });
        let sized = |bytes| HumanBytes(bytes).to_string();
        let cells = of_operators("kept_bytes", &|bytes| unless_none(&sized, bytes));
        columns.push(Column { title: "kept", is_right: true, cells });
    }
    for (title, key) in [("place", "place"), ("", "clause"), ("also in", "shared_with")] {
        let cells = rows.iter().map(|row| text(row, key).to_owned()).collect();
        columns.push(Column { title, is_right: false, cells });
    }
    aligned(&columns, rows.len())
}

fn text<'a>(row: &'a Row, key: &str) -> &'a str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(row: &Row, key: &str) -> Option<u64> {
    row.get(key).and_then(Value::as_u64)
}

/// The operators, each behind the branches that lead to it.
fn branches(rows: &[Row]) -> Vec<String> {
    let depth = |row: &Row| number(row, "depth").unwrap_or_default();
    let goes_on = |at: usize, level: u64| {
        rows[at + 1..].iter().map(depth).find(|&depth| depth <= level) == Some(level)
    };
    let line = |(at, row): (usize, &Row)| {
        let mut line = String::new();
        for level in 1..depth(row) {
            line += if goes_on(at, level) { "│  " } else { "   " };
        }
        if depth(row) > 0 {
            line += if goes_on(at, depth(row)) { "├─ " } else { "└─ " };
        }
        let operator = text(row, "operator");
        match operator.char_indices().nth(OPERATOR_LETTERS_MAX).filter(|_| at > 0) {
            Some((end, _)) => line + operator[..end].trim_end() + "…",
            None => line + operator,
        }
    };
    rows.iter().enumerate().map(line).collect()
}

/// The time of each operator, and the part of all that it is.
fn times(rows: &[Row]) -> Vec<Column> {
    let times: Vec<Option<u64>> = rows.iter().map(|row| number(row, "time_ns")).collect();
    let total: u64 = times.iter().flatten().sum();
    let (mut spent, mut parts, mut longest) = (Vec::new(), Vec::new(), Vec::new());
    for (at, (row, time)) in rows.iter().zip(&times).enumerate() {
        let has_stage = at == 0 || time.is_some();
        let above = row.get("told_above").and_then(Value::as_bool).unwrap_or_default();
        spent.push(match time {
            Some(time) => duration(*time),
            None if above => "above".to_owned(),
            None => String::new(),
        });
        let part = time.filter(|_| total > 0 && has_stage);
        parts.push(part.map_or_else(String::new, |time| {
            format!("{} %", (u128::from(time) * 100 + u128::from(total) / 2) / u128::from(total))
        }));
        let workers = number(row, "workers").filter(|&workers| workers > 1);
        let most = number(row, "longest_worker_ns");
        let is_skewed = |(most, workers): &(u64, u64)| {
            time.is_some_and(|time| most.saturating_mul(*workers) > time.saturating_mul(SKEW))
        };
        let skewed = most.zip(workers).filter(is_skewed);
        longest.push(skewed.map_or_else(String::new, |(most, _)| duration(most)));
    }
    let is_skewed = longest.iter().any(|cell| !cell.is_empty());
    let mut columns = vec![
        Column { title: "time", is_right: true, cells: spent },
        Column { title: "", is_right: true, cells: parts },
    ];
    if is_skewed {
        columns.push(Column { title: "one worker", is_right: true, cells: longest });
    }
    columns
}

/// `812 ns`, `12.3 µs`, `4.56 ms`, `1.20 s`: three digits.
fn duration(nanoseconds: u64) -> String {
    let units = [("s", 1_000_000_000_u64), ("ms", 1_000_000), ("µs", 1_000)];
    let Some((unit, size)) = units.into_iter().find(|(_, size)| nanoseconds >= *size) else {
        return format!("{nanoseconds} ns");
    };
    let (whole, hundredths) = (nanoseconds / size, nanoseconds % size * 100 / size);
    match whole {
        0..10 => format!("{whole}.{hundredths:02} {unit}"),
        10..100 => format!("{whole}.{} {unit}", hundredths / 10),
        _ => format!("{whole} {unit}"),
    }
}

fn aligned(columns: &[Column], rows: usize) -> String {
    let columns: Vec<&Column> =
        columns.iter().filter(|column| column.cells.iter().any(|cell| !cell.is_empty())).collect();
    let letters = |cell: &str| cell.chars().count();
    // The first line names the view, and may be longer than the others.
    let width = |(at, column): (usize, &&Column)| {
        let cells = column.cells.iter().skip(usize::from(at == 0)).map(|cell| letters(cell));
        cells.chain([letters(column.title)]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(width).collect();
    let line = |cells: Vec<&str>| {
        let mut line = String::new();
        for ((cell, column), &width) in cells.into_iter().zip(&columns).zip(&widths) {
            let gap = " ".repeat(width.saturating_sub(letters(cell)));
            line +=
                &if column.is_right { format!("{gap}{cell}  ") } else { format!("{cell}{gap}  ") };
        }
        line.trim_end().to_owned() + "\n"
    };
    let title = columns.first().map(|column| column.cells[0].clone()).unwrap_or_default() + "\n";
    let mut text = title;
    text += &line(columns.iter().map(|column| column.title).collect());
    for row in 0..rows {
        let cell = |(at, column): (usize, &&Column)| -> String {
            match (row, at) {
                (0, 0) => "result".to_owned(),
                _ => column.cells[row].clone(),
            }
        };
        let cells: Vec<String> = columns.iter().enumerate().map(cell).collect();
        if row > 0 || cells.iter().skip(1).any(|cell| !cell.is_empty()) {
            text += &line(cells.iter().map(String::as_str).collect());
        }
    }
    text
}
