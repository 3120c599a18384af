//! What the rows of a frame are folded to, and the bytes of a row that say what it adds.
//!
//! A row of a window is kept as
//!
//! ```text
//! partition | order keys | columns | payload | two lengths
//! ```
//!
//! The first two make peers begin alike; the columns, as they came, break ties and are what is shown. The payload holds
//! what the calls need of the row in a form that is summed without decoding: for each input whether it counts and its
//! value as a number, then the bytes of values of which the least or greatest is wanted. It follows from the columns, so
//! it changes no order.

#![allow(clippy::wildcard_enum_match_arm, reason = "Arrow has 40 types, few of which are summed")]

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, SchemaRef, i256};
use arrow::error::ArrowError;

use super::super::aggregate::{Term, Terms, Total, TotalKind};
use crate::arrangement::{Codec, Encoded, Floats, Measure, number};
use crate::columns::as_booleans;

/// Folds rows to totals and extremes.
pub(super) struct Folds {
    inputs: Vec<Input>,
    totals: Vec<(usize, Total)>,
    /// The words of all totals.
    width: usize,
    extremes: Vec<Extreme>,
    /// The bytes of the payload's part of fixed length.
    fixed_bytes: usize,
}

/// What calls read of a row: a column, of rows that count.
struct Input {
    column: Option<usize>,
    filter: Option<usize>,
    /// Whether a row with NULL counts.
    counts_nulls: bool,
    form: Form,
    /// Where it lies in the payload.
    at: usize,
    /// How values are kept of which the least or greatest is wanted.
    codec: Option<Codec>,
}

/// The bytes of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Nothing,
    Flag,
    Integer,
    Decimal,
    Float,
}

struct Extreme {
    input: usize,
    is_greatest: bool,
}

/// The totals and extremes of some rows.
#[derive(Clone)]
pub(super) struct Sum {
    pub(super) words: Vec<u64>,
    pub(super) extremes: Vec<Option<Box<[u8]>>>,
}

/// The parts of a row's bytes.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    /// The partition and the order keys: what peers share.
    pub(super) prefix: &'a [u8],
    /// The columns.
    pub(super) row: &'a [u8],
    payload: &'a [u8],
}

/// The values of a batch that payloads are written from.
pub(super) struct Payloads<'a> {
    folds: &'a Folds,
    inputs: Vec<(Vec<bool>, Terms, Option<Encoded>)>,
}

const LENGTH_BYTES: usize = 4;

/// Takes a row's bytes apart.
pub(super) fn parts(bytes: &[u8]) -> Parts<'_> {
    let (rest, row) = split_length(bytes);
    let (rest, prefix) = split_length(rest);
    let (prefix, rest) = rest.split_at(prefix);
    let (row, payload) = rest.split_at(row);
    Parts { prefix, row, payload }
}

fn split_length(bytes: &[u8]) -> (&[u8], usize) {
    let (rest, length) = bytes.split_at(bytes.len() - LENGTH_BYTES);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
    (rest, length as usize)
}

impl Form {
    fn of(data_type: &DataType) -> Self {
        match (data_type, TotalKind::of_numbers(data_type)) {
            (DataType::Boolean, _) => Self::Flag,
            (_, Some(TotalKind::Float)) => Self::Float,
            (_, Some(TotalKind::Wide { .. })) => Self::Decimal,
            (_, Some(_)) => Self::Integer,
            (_, None) => Self::Nothing,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Flag => 1,
            Self::Float => 8,
            Self::Integer => 16,
            Self::Decimal => 32,
        }
    }

    fn read(self, bytes: &[u8]) -> Term {
        match self {
            Self::Nothing => Term::Nothing,
            Self::Flag => Term::Flag(bytes[0] == 1),
            Self::Float => Term::Float(f64::from_le_bytes(bytes.try_into().expect("8 bytes"))),
            Self::Integer => {
                Term::Integer(i128::from_le_bytes(bytes.try_into().expect("16 bytes")))
            }
            Self::Decimal => {
                Term::Decimal(i256::from_le_bytes(bytes.try_into().expect("32 bytes")))
            }
        }
    }
}

impl Folds {
    pub(super) fn new() -> Self {
        let (inputs, totals, extremes) = (Vec::new(), Vec::new(), Vec::new());
        Self { inputs, totals, width: 0, extremes, fixed_bytes: 0 }
    }

    /// Adds an input that calls read, or finds it.
    pub(super) fn input(
        &mut self,
        schema: &SchemaRef,
        column: Option<usize>,
        filter: Option<usize>,
        counts_nulls: bool,
    ) -> usize {
        let counts_nulls = counts_nulls || column.is_none();
        let known = |input: &Input| {
            (input.column, input.filter, input.counts_nulls) == (column, filter, counts_nulls)
        };
        self.inputs.iter().position(known).unwrap_or_else(|| {
            let summed = column.filter(|_| !counts_nulls);
            let form = summed.map_or(Form::Nothing, |at| Form::of(schema.field(at).data_type()));
            let at = self.fixed_bytes;
            self.fixed_bytes += 1 + form.bytes();
            self.inputs.push(Input { column, filter, counts_nulls, form, at, codec: None });
            self.inputs.len() - 1
        })
    }

    /// Adds a total of an input, or finds it.
    pub(super) fn total(&mut self, input: usize, kind: TotalKind) -> Total {
        let known = |(of, total): &&(usize, Total)| *of == input && total.kind() == kind;
        if let Some((_, total)) = self.totals.iter().find(known) {
            return *total;
        }
        let total = Total::new(kind, self.width);
        self.width += total.width();
        self.totals.push((input, total));
        total
    }

    /// Adds the least or greatest value of an input.
    pub(super) fn extreme(
        &mut self,
        data_type: &DataType,
        input: usize,
        is_greatest: bool,
    ) -> Result<usize, ArrowError> {
        if self.inputs[input].codec.is_none() {
            self.inputs[input].codec = Some(Codec::new([data_type], Floats::Folded)?);
        }
        self.extremes.push(Extreme { input, is_greatest });
        Ok(self.extremes.len() - 1)
    }

    /// The words of all totals.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// How many extremes there are.
    pub(super) fn extremes(&self) -> usize {
        self.extremes.len()
    }

    /// The column of an extreme's values, NULL where there is none.
    pub(super) fn extreme_column(
        &self,
        extreme: usize,
        values: &[Option<Box<[u8]>>],
    ) -> Result<ArrayRef, ArrowError> {
        let input = &self.inputs[self.extremes[extreme].input];
        let codec = input.codec.as_ref().expect("an extreme's input keeps its values");
        let null = codec.encode(&[arrow::array::new_null_array(codec.data_type(0), 1)])?;
        let rows = values.iter().map(|value| value.as_deref().unwrap_or(null.row(0)));
        Ok(codec.decode(rows)?.swap_remove(0))
    }

    /// Whether a row counts for an input.
    pub(super) fn counts(&self, parts: Parts<'_>, input: usize) -> bool {
        parts.payload[self.inputs[input].at] == 1
    }

    /// Prepares the payloads of a batch's rows.
    pub(super) fn payloads(
        &self,
        columns: &[ArrayRef],
        rows: usize,
    ) -> Result<Payloads<'_>, ArrowError> {
        let read = |input: &Input| -> Result<_, ArrowError> {
            let mut counts = vec![true; rows];
            let column = input.column.map(|at| &columns[at]);
            let nulls = column.filter(|_| !input.counts_nulls).and_then(|c| c.logical_nulls());
            if let Some(nulls) = nulls {
                counts.iter_mut().zip(nulls.iter()).for_each(|(counts, valid)| *counts &= valid);
            }
            if let Some(filter) = input.filter {
                let filter = as_booleans(&columns[filter]);
                let all = counts.iter_mut().zip(&filter);
                all.for_each(|(counts, holds)| *counts &= holds == Some(true));
            }
            let summed = column.filter(|_| input.form != Form::Nothing);
            let terms = summed.map_or(Ok(Terms::Nothing), Terms::of)?;
            let encode = |codec: &Codec| {
                column.map(|column| codec.encode(std::slice::from_ref(column))).transpose()
            };
            let encoded = input.codec.as_ref().map(encode).transpose()?.flatten();
            Ok((counts, terms, encoded))
        };
        let inputs = self.inputs.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Payloads { folds: self, inputs })
    }

    /// Takes the copies of a row out of a sum's totals; extremes cannot be taken out.
    pub(super) fn remove(&self, sum: &mut Sum, row: &[u8], times: i64) {
        self.add_totals(sum, parts(row), -times);
    }

    /// Adds a change of a row's count to totals.
    pub(super) fn add_totals(&self, sum: &mut Sum, parts: Parts<'_>, times: i64) {
        for (input, total) in &self.totals {
            let input = &self.inputs[*input];
            if parts.payload[input.at] == 1 {
                let term = &parts.payload[input.at + 1..][..input.form.bytes()];
                total.add_term(&mut sum.words, input.form.read(term), times);
            }
        }
    }

    fn add_extremes(&self, sum: &mut Sum, parts: Parts<'_>) {
        let mut rest = &parts.payload[self.fixed_bytes..];
        for (at, input) in self.inputs.iter().enumerate().filter(|(_, i)| i.codec.is_some()) {
            let (length, tail) = rest.split_at(LENGTH_BYTES);
            let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
            let (value, tail) = tail.split_at(length as usize);
            rest = tail;
            if parts.payload[input.at] == 1 {
                for (extreme, held) in self.extremes.iter().zip(&mut sum.extremes) {
                    if extreme.input == at {
                        extreme.take(held, value);
                    }
                }
            }
        }
    }
}

impl Extreme {
    fn take(&self, held: &mut Option<Box<[u8]>>, value: &[u8]) {
        let is_better = held
            .as_deref()
            .is_none_or(|held| if self.is_greatest { value > held } else { value < held });
        if is_better {
            *held = Some(value.into());
        }
    }
}

impl Measure for Folds {
    type Sum = Sum;

    fn zero(&self) -> Sum {
        Sum { words: vec![0; self.width], extremes: vec![None; self.extremes.len()] }
    }

    fn add(&self, sum: &mut Sum, row: &[u8], times: i64) {
        let parts = parts(row);
        self.add_totals(sum, parts, times);
        if !self.extremes.is_empty() {
            self.add_extremes(sum, parts);
        }
    }

    fn join(&self, sum: &mut Sum, other: &Sum) {
        for (_, total) in &self.totals {
            total.join(&mut sum.words, &other.words);
        }
        let extremes = sum.extremes.iter_mut().zip(&other.extremes).zip(&self.extremes);
        for ((held, other), extreme) in extremes {
            if let Some(value) = other {
                extreme.take(held, value);
            }
        }
    }
}

impl Payloads<'_> {
    /// Writes a row's payload and the lengths behind it.
    pub(super) fn write(&self, row: usize, lengths: (usize, usize), bytes: &mut Vec<u8>) {
        bytes.clear();
        for (input, (counts, terms, _)) in self.folds.inputs.iter().zip(&self.inputs) {
            bytes.push(u8::from(counts[row]));
            if !counts[row] {
                // What lies under a NULL is arbitrary, but equal rows have equal bytes.
                bytes.resize(bytes.len() + input.form.bytes(), 0);
                continue;
            }
            match terms.get(row) {
                Term::Nothing => {}
                Term::Flag(value) => bytes.push(u8::from(value)),
                Term::Integer(value) => bytes.extend_from_slice(&value.to_le_bytes()),
                Term::Decimal(value) => bytes.extend_from_slice(&value.to_le_bytes()),
                Term::Float(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            }
        }
        for (input, (_, _, encoded)) in self.folds.inputs.iter().zip(&self.inputs) {
            if input.codec.is_some() {
                let value = encoded.as_ref().map_or(&[][..], |encoded| encoded.row(row));
                bytes.extend_from_slice(&number(value.len()).to_le_bytes());
                bytes.extend_from_slice(value);
            }
        }
        let (prefix, columns) = lengths;
        bytes.extend_from_slice(&number(prefix).to_le_bytes());
        bytes.extend_from_slice(&number(columns).to_le_bytes());
    }
}
