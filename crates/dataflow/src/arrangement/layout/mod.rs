//! Rows as words: a row of any columns is a few 64-bit words, so that it is compared, hashed and copied as numbers.
//!
//! Columns of fixed width lie in whole words or, several of them, in one: the widest first, so that nothing is wasted.
//! A text takes two words: its length, its first four bytes, and then either its other bytes, up to twelve, or the
//! number of the text among [`Texts`] (the form of Arrow's and Umbra's string views). What has no fixed width and is no
//! text, such as a list, is a text of bytes in Arrow's row format. Behind the values lie the words with the NULLs, a bit
//! a column; a store leaves them out as long as there are none. The value of a NULL is all zeros.
//!
//! Invariant: two rows of one layout and one set of texts are equal exactly if their words are.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "Arrow has 40 types; those not named are kept as bytes"
)]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, StringArray, make_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::{Codec, Floats, Pages, Texts};

/// The bytes of a text that two words hold besides its length.
const INLINE_BYTES: usize = 12;

/// How the columns of a row lie in words.
pub(crate) struct Layout {
    columns: Vec<Column>,
    words: usize,
}

struct Column {
    data_type: DataType,
    kind: Kind,
    /// The first word.
    word: usize,
    /// The lowest bit, of a column that is narrower than a word.
    shift: u32,
}

enum Kind {
    Bit,
    Byte,
    Half,
    Single(Float),
    Word(Float),
    /// So many words.
    Wide(usize),
    Text,
    Bytes,
    /// Anything, as bytes.
    Other(Codec),
}

/// Whether a column of words holds floats of which some are to be made equal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Float {
    No,
    Folded,
}

/// Rows of words, all of the same layout.
#[derive(Default)]
pub(crate) struct Encoded {
    /// Words of values and NULLs of each row.
    pub(crate) words: Vec<u64>,
    /// How many words a row has.
    pub(crate) stride: usize,
    /// Whether some row holds a NULL.
    pub(crate) has_nulls: bool,
}

/// Rows of words in a store.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) words: &'a Pages,
    pub(crate) has_nulls: bool,
    pub(crate) texts: &'a Texts,
}

impl Encoded {
    /// A row's words.
    pub(crate) fn row(&self, row: usize) -> &[u64] {
        &self.words[row * self.stride..(row + 1) * self.stride]
    }
}

impl Layout {
    /// Lays out columns of the given types.
    pub(crate) fn new(types: &[DataType], floats: Floats) -> Result<Self, ArrowError> {
        let mut columns = Vec::with_capacity(types.len());
        for data_type in types {
            let kind = Kind::of(data_type, floats)?;
            columns.push(Column { data_type: data_type.clone(), kind, word: 0, shift: 0 });
        }
        let mut bits = 0;
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(columns[at].kind.bits()));
        for at in order {
            let column = &mut columns[at];
            column.word = bits / 64;
            column.shift = u32::try_from(bits % 64).expect("less than 64");
            bits += column.kind.bits();
        }
        Ok(Self { columns, words: bits.div_ceil(64) })
    }

    /// How many columns there are.
    pub(crate) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// The words of a row's values.
    pub(crate) fn value_words(&self) -> usize {
        self.words
    }

    /// The words of a row's NULLs.
    pub(crate) fn null_words(&self) -> usize {
        self.columns.len().div_ceil(64)
    }

    /// The rows of a single column whose values are words as they are, none of them NULL.
    pub(crate) fn plain_words(&self, columns: &[ArrayRef]) -> Option<ScalarBuffer<u64>> {
        let ([Column { kind: Kind::Word(Float::No), .. }], [array]) = (&self.columns[..], columns)
        else {
            return None;
        };
        if array.logical_nulls().is_some_and(|nulls| nulls.null_count() > 0) {
            return None;
        }
        let data = array.to_data();
        Some(ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len()))
    }

    /// Encodes the columns' rows; new texts are given numbers.
    pub(crate) fn encode(
        &self,
        texts: &mut Texts,
        columns: &[ArrayRef],
        rows: usize,
        out: &mut Encoded,
    ) -> Result<(), ArrowError> {
        out.stride = self.words + self.null_words();
        out.has_nulls = false;
        out.words.clear();
        out.words.resize(rows * out.stride, 0);
        if out.stride == 0 {
            return Ok(());
        }
        for (at, (column, array)) in self.columns.iter().zip(columns).enumerate() {
            column.encode(array, texts, out)?;
            if let Some(nulls) = array.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
                out.has_nulls = true;
                let word = self.words + at / 64;
                for row in null_rows(&nulls) {
                    column.clear(&mut out.words[row * out.stride..]);
                    out.words[row * out.stride + word] |= 1 << (at % 64);
                }
            }
        }
        Ok(())
    }

    /// Returns a column of the rows at the given positions.
    pub(crate) fn gather(
        &self,
        column: usize,
        rows: Stored<'_>,
        positions: &[u32],
    ) -> Result<ArrayRef, ArrowError> {
        let nulls = if rows.has_nulls { self.nulls(column, rows, positions) } else { None };
        self.columns[column].gather(rows, positions, nulls)
    }

    fn nulls(&self, column: usize, rows: Stored<'_>, positions: &[u32]) -> Option<NullBuffer> {
        let (word, bit) = (self.words + column / 64, column % 64);
        let valid = |&at: &u32| rows.words.word(at, word) >> bit & 1 == 0;
        let nulls: NullBuffer = positions.iter().map(valid).collect::<Vec<bool>>().into();
        (nulls.null_count() > 0).then_some(nulls)
    }

    /// Calls `found` with the number of each long text of a row.
    pub(crate) fn long_texts(&self, row: &[u64], mut found: impl FnMut(u32)) {
        for column in self.columns.iter().filter(|column| column.kind.is_text()) {
            if let Some(number) = long_text(row[column.word], row[column.word + 1]) {
                found(number);
            }
        }
    }

    /// The bytes of a row's texts, and of all else that has no fixed width.
    pub(crate) fn text_bytes(&self, row: &[u64]) -> usize {
        let texts = self.columns.iter().filter(|column| column.kind.is_text());
        texts.map(|column| low32(row[column.word]) as usize).sum()
    }

    /// Whether a row may hold long texts.
    pub(crate) fn has_texts(&self) -> bool {
        self.columns.iter().any(|column| column.kind.is_text())
    }
}

fn null_rows(nulls: &NullBuffer) -> impl Iterator<Item = usize> + '_ {
    (0..nulls.len()).filter(|&row| nulls.is_null(row))
}

impl Kind {
    fn of(data_type: &DataType, floats: Floats) -> Result<Self, ArrowError> {
        let float = if floats == Floats::Folded { Float::Folded } else { Float::No };
        Ok(match data_type {
            DataType::Boolean => Self::Bit,
            DataType::Float32 => Self::Single(float),
            DataType::Float64 => Self::Word(float),
            DataType::Utf8 => Self::Text,
            DataType::Binary => Self::Bytes,
            other => match other.primitive_width() {
                Some(1) => Self::Byte,
                Some(2) if *other != DataType::Float16 => Self::Half,
                Some(4) => Self::Single(Float::No),
                Some(8) => Self::Word(Float::No),
                Some(16) => Self::Wide(2),
                Some(32) => Self::Wide(4),
                _ => Self::Other(Codec::new([other], floats)?),
            },
        })
    }

    fn bits(&self) -> usize {
        match self {
            Self::Bit => 1,
            Self::Byte => 8,
            Self::Half => 16,
            Self::Single(_) => 32,
            Self::Word(_) => 64,
            Self::Wide(words) => words * 64,
            Self::Text | Self::Bytes | Self::Other(_) => 128,
        }
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Text | Self::Bytes | Self::Other(_))
    }
}

/// The buffer of an array of fixed width, from its first value on.
fn values<T: arrow::datatypes::ArrowNativeType>(data: &ArrayData, of_each: usize) -> &[T] {
    &data.buffers()[0].typed_data::<T>()[data.offset() * of_each..]
}

impl Column {
    fn encode(
        &self,
        array: &ArrayRef,
        texts: &mut Texts,
        out: &mut Encoded,
    ) -> Result<(), ArrowError> {
        let stride = out.stride;
        let rows = out.words.chunks_exact_mut(stride);
        let (word, shift) = (self.word, self.shift);
        match &self.kind {
            Kind::Bit => {
                let column = array.as_boolean();
                for (row, value) in rows.zip(column.values().iter()) {
                    row[word] |= u64::from(value) << shift;
                }
            }
            Kind::Byte => {
                let data = array.to_data();
                for (row, &value) in rows.zip(values::<u8>(&data, 1)) {
                    row[word] |= u64::from(value) << shift;
                }
            }
            Kind::Half => {
                let data = array.to_data();
                for (row, &value) in rows.zip(values::<u16>(&data, 1)) {
                    row[word] |= u64::from(value) << shift;
                }
            }
            Kind::Single(float) => {
                let data = array.to_data();
                for (row, &value) in rows.zip(values::<u32>(&data, 1)) {
                    let value = if *float == Float::Folded { fold_single(value) } else { value };
                    row[word] |= u64::from(value) << shift;
                }
            }
            Kind::Word(float) => {
                let data = array.to_data();
                for (row, &value) in rows.zip(values::<u64>(&data, 1)) {
                    row[word] = if *float == Float::Folded { fold_double(value) } else { value };
                }
            }
            Kind::Wide(words) => {
                let data = array.to_data();
                for (row, value) in rows.zip(values::<u64>(&data, *words).chunks_exact(*words)) {
                    row[word..word + words].copy_from_slice(value);
                }
            }
            Kind::Text => {
                let column = array.as_string::<i32>();
                let bytes = column.value_data();
                self.encode_texts(rows, column.value_offsets(), bytes, texts);
            }
            Kind::Bytes => {
                let column = array.as_binary::<i32>();
                let bytes = column.value_data();
                self.encode_texts(rows, column.value_offsets(), bytes, texts);
            }
            Kind::Other(codec) => {
                let encoded = codec.encode(std::slice::from_ref(array))?;
                for (at, row) in rows.enumerate() {
                    (row[word], row[word + 1]) = text_words(encoded.row(at), texts);
                }
            }
        }
        Ok(())
    }

    fn encode_texts<'a>(
        &self,
        rows: impl Iterator<Item = &'a mut [u64]>,
        offsets: &[i32],
        bytes: &[u8],
        texts: &mut Texts,
    ) {
        let offset = |at: i32| usize::try_from(at).expect("offsets are not negative");
        for (row, ends) in rows.zip(offsets.windows(2)) {
            let text = &bytes[offset(ends[0])..offset(ends[1])];
            (row[self.word], row[self.word + 1]) = text_words(text, texts);
        }
    }

    /// Sets the column's bits of a row to zero.
    fn clear(&self, row: &mut [u64]) {
        let bits = self.kind.bits();
        if bits < 64 {
            row[self.word] &= !(((1 << bits) - 1) << self.shift);
        } else {
            row[self.word..self.word + bits / 64].fill(0);
        }
    }

    fn gather(
        &self,
        rows: Stored<'_>,
        positions: &[u32],
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        let word = |&at: &u32| rows.words.word(at, self.word);
        let buffer = match &self.kind {
            Kind::Bit => {
                let bit = |at| word(at) >> self.shift & 1 == 1;
                let values = positions.iter().map(bit).collect::<Vec<bool>>().into();
                return Ok(Arc::new(BooleanArray::new(values, nulls)));
            }
            Kind::Byte => {
                Buffer::from_vec(positions.iter().map(|at| low8(word(at) >> self.shift)).collect())
            }
            Kind::Half => {
                Buffer::from_vec(positions.iter().map(|at| low16(word(at) >> self.shift)).collect())
            }
            Kind::Single(_) => {
                Buffer::from_vec(positions.iter().map(|at| low32(word(at) >> self.shift)).collect())
            }
            Kind::Word(_) => Buffer::from_vec(positions.iter().map(word).collect::<Vec<u64>>()),
            Kind::Wide(words) => {
                // A buffer of 128-bit values is aligned to them.
                let wide = |&at: &u32| {
                    let pairs = rows.words.row(at)[self.word..self.word + words].chunks_exact(2);
                    pairs.map(|pair| u128::from(pair[0]) | u128::from(pair[1]) << 64)
                };
                let values: Vec<i128> =
                    positions.iter().flat_map(wide).map(u128::cast_signed).collect();
                Buffer::from_vec(values)
            }
            Kind::Text | Kind::Bytes => return self.gather_texts(rows, positions, nulls),
            Kind::Other(codec) => return self.gather_other(codec, rows, positions),
        };
        let data = ArrayData::builder(self.data_type.clone())
            .len(positions.len())
            .add_buffer(buffer)
            .nulls(nulls);
        Ok(make_array(data.build()?))
    }

    fn gather_texts(
        &self,
        rows: Stored<'_>,
        positions: &[u32],
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        let mut bytes = Vec::with_capacity(positions.len() * 8);
        let mut offsets = Vec::with_capacity(positions.len() + 1);
        offsets.push(0);
        for &at in positions {
            let row = &rows.words.row(at)[self.word..];
            with_text(row[0], row[1], rows.texts, |text| bytes.extend_from_slice(text));
            let end = i32::try_from(bytes.len());
            offsets.push(end.map_err(|_large| ArrowError::OffsetOverflowError(bytes.len()))?);
        }
        let offsets = OffsetBuffer::new(offsets.into());
        let binary = BinaryArray::new(offsets, Buffer::from_vec(bytes), nulls);
        Ok(match self.kind {
            Kind::Text => Arc::new(StringArray::try_from_binary(binary)?),
            _ => Arc::new(binary),
        })
    }

    fn gather_other(
        &self,
        codec: &Codec,
        rows: Stored<'_>,
        positions: &[u32],
    ) -> Result<ArrayRef, ArrowError> {
        let null = codec.encode(&[arrow::array::new_null_array(&self.data_type, 1)])?;
        let mut bytes: Vec<Vec<u8>> = Vec::with_capacity(positions.len());
        for &at in positions {
            let row = &rows.words.row(at)[self.word..];
            bytes.push(with_text(row[0], row[1], rows.texts, <[u8]>::to_vec));
        }
        // A NULL is kept as no bytes at all, which are no encoding of anything.
        let row = |bytes| if <[u8]>::is_empty(bytes) { null.row(0) } else { bytes };
        let columns = codec.decode(bytes.iter().map(|bytes| row(bytes.as_slice())))?;
        Ok(columns.into_iter().next().expect("one column is decoded to one"))
    }
}

/// The two words of a text.
fn text_words(text: &[u8], texts: &mut Texts) -> (u64, u64) {
    let mut words = [0; 16];
    let length = u32::try_from(text.len()).expect("a text is shorter than 4 GiB");
    words[..4].copy_from_slice(&length.to_le_bytes());
    if text.len() <= INLINE_BYTES {
        words[4..4 + text.len()].copy_from_slice(text);
    } else {
        words[4..8].copy_from_slice(&text[..4]);
        words[8..].copy_from_slice(&u64::from(texts.number(text)).to_le_bytes());
    }
    let (first, second) = words.split_at(8);
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    (word(first), word(second))
}

/// Calls `read` with the text of two words.
fn with_text<T>(first: u64, second: u64, texts: &Texts, read: impl FnOnce(&[u8]) -> T) -> T {
    if let Some(number) = long_text(first, second) {
        return read(texts.get(number));
    }
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&second.to_le_bytes());
    read(&bytes[4..4 + low32(first) as usize])
}

/// The number of a long text, from its two words.
fn long_text(first: u64, second: u64) -> Option<u32> {
    (low32(first) as usize > INLINE_BYTES).then(|| low32(second))
}

fn fold_single(bits: u32) -> u32 {
    let value = f32::from_bits(bits);
    if value.is_nan() { f32::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

fn fold_double(bits: u64) -> u64 {
    let value = f64::from_bits(bits);
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are wanted")]
fn low8(word: u64) -> u8 {
    word as u8
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are wanted")]
fn low16(word: u64) -> u16 {
    word as u16
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are wanted")]
fn low32(word: u64) -> u32 {
    word as u32
}

#[cfg(test)]
mod tests;
