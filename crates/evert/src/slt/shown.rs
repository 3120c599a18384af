//! Rows as sqllogictest files write them, and the difference of two lists of lines.

use std::fmt::Write as _;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use md5::{Digest, Md5};
use view::text::CellWriter;

use crate::slt::record::Sort;

/// Longer lists are shown whole, not as a difference.
const DIFFERENCE_LINES_MAX: usize = 2_000;

/// The cells of rows: PostgreSQL's text, `NULL`, `(empty)`, and line ends as `\n`.
pub(super) fn cells(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for batch in batches {
        let cells = CellWriter::new(batch);
        for row in 0..cells.len() {
            let cell = |column| match cells.cell(row, column) {
                None => "NULL".to_owned(),
                Some(text) if text.is_empty() => "(empty)".to_owned(),
                Some(text) => text.replace('\n', "\\n"),
            };
            rows.push((0..batch.num_columns()).map(cell).collect());
        }
    }
    rows
}

/// Rows as lines, one a row; one a value when values are sorted.
pub(super) fn lines(mut rows: Vec<Vec<String>>, sort: Sort) -> Vec<String> {
    match sort {
        Sort::None => {}
        Sort::Rows => rows.sort(),
        Sort::Values => {
            let mut values: Vec<String> = rows.into_iter().flatten().collect();
            values.sort();
            return values;
        }
    }
    rows.iter().map(|row| row.join(" ")).collect()
}

/// The values' digest, as `hash-threshold` asks for it.
pub(super) fn hashed(mut rows: Vec<Vec<String>>, sort: Sort) -> String {
    if sort == Sort::Rows {
        rows.sort();
    }
    let mut values: Vec<String> = rows.into_iter().flatten().collect();
    if sort == Sort::Values {
        values.sort();
    }
    let mut hash = Md5::new();
    for value in &values {
        hash.update(value);
        hash.update("\n");
    }
    let digest = hash.finalize();
    let hex = digest.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String");
        hex
    });
    format!("{} values hashing to {hex}", values.len())
}

/// The line with every run of blanks as one: columns may be aligned in a file.
pub(super) fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The letters of the columns' types: `I` whole numbers, `R` other numbers, `T` everything else.
pub(super) fn types(schema: &SchemaRef) -> String {
    let letter = |data_type: &DataType| match data_type {
        integer if integer.is_integer() => 'I',
        number if number.is_numeric() => 'R',
        _ => 'T',
    };
    schema.fields().iter().map(|field| letter(field.data_type())).collect()
}

/// Whether columns are of the types that the letters name; `T`, `?` and other letters are any type.
pub(super) fn are_types(schema: &SchemaRef, letters: &str) -> bool {
    let fits = |(found, wanted): (char, char)| match wanted {
        'I' | 'R' => found == wanted,
        _ => true,
    };
    let is_null = |at: usize| *schema.field(at).data_type() == DataType::Null;
    let found = types(schema);
    found.len() == letters.chars().count()
        && found
            .chars()
            .zip(letters.chars())
            .enumerate()
            .all(|(at, pair)| is_null(at) || fits(pair))
}

/// The difference of two lists: `-` only expected, `+` only found.
pub(super) fn difference(expected: &[String], found: &[String]) -> String {
    let mut text = String::new();
    let mut line = |sign: char, line: &str| {
        writeln!(text, "{sign} {line}").expect("writing to a String");
    };
    if expected.len().max(found.len()) > DIFFERENCE_LINES_MAX {
        expected.iter().for_each(|expected| line('-', expected));
        found.iter().for_each(|found| line('+', found));
        return text;
    }
    // common[i][j]: the longest common sequence of what is behind i and j.
    let mut common = vec![vec![0u32; found.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..found.len()).rev() {
            common[i][j] = if expected[i] == found[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < expected.len() || j < found.len() {
        if i < expected.len() && j < found.len() && expected[i] == found[j] {
            line(' ', &expected[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == found.len() || (i < expected.len() && common[i + 1][j] >= common[i][j + 1]) {
            line('-', &expected[i]);
            i += 1;
        } else {
            line('+', &found[j]);
            j += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_difference_keeps_what_both_have() {
        let (expected, found) = (owned(&["a", "b", "c"]), owned(&["a", "c", "d"]));
        assert_eq!(difference(&expected, &found), "  a\n- b\n  c\n+ d\n");
    }

    #[test]
    fn values_are_hashed_one_a_line() {
        let rows = vec![owned(&["1", "b"]), owned(&["0", "a"])];
        // md5 of "0\na\n1\nb\n".
        let hash = hashed(rows.clone(), Sort::Rows);
        assert!(hash.starts_with("4 values hashing to "), "{hash}");
        assert_eq!(hash, hashed(vec![owned(&["0", "a"]), owned(&["1", "b"])], Sort::None));
        assert_ne!(hash, hashed(rows, Sort::None));
    }
}
