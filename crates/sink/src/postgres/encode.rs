//! Values in PostgreSQL's binary form, as COPY and prepared statements take them.
//!
//! Numbers never pass through floats; infinity stays infinity: sources keep it as the extreme value of the type, and
//! so does PostgreSQL.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "columns were checked to have a counterpart in PostgreSQL"
)]

use std::fmt::Write as _;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, ListArray, PrimitiveArray, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, FieldRef, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use bytes::{BufMut, BytesMut};

use super::types::{PgColumn, Scalar};
use crate::SinkError;

/// Days between 1970-01-01 and 2000-01-01, from which PostgreSQL counts.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_US: i64 = 946_684_800_000_000;

/// A column's values, ready to be written.
#[derive(Debug)]
pub(super) struct Encoder {
    column: PgColumn,
    array: ArrayRef,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Bool(BooleanArray),
    Int2(PrimitiveArray<Int16Type>),
    Int4(PrimitiveArray<Int32Type>),
    Int8(PrimitiveArray<Int64Type>),
    Float4(PrimitiveArray<Float32Type>),
    Float8(PrimitiveArray<Float64Type>),
    Decimal128(PrimitiveArray<Decimal128Type>),
    Decimal256(PrimitiveArray<Decimal256Type>),
    Text(StringArray),
    Binary(BinaryArray),
    Date(PrimitiveArray<Date32Type>),
    Time(PrimitiveArray<Time64MicrosecondType>),
    Timestamp(PrimitiveArray<TimestampMicrosecondType>),
    Interval(PrimitiveArray<IntervalMonthDayNanoType>),
    List(ListArray, Box<Encoder>),
}

impl Encoder {
    /// Prepares a column's values.
    ///
    /// # Errors
    /// When the array is not of the column's type.
    pub(super) fn new(column: &PgColumn, array: &ArrayRef) -> Result<Self, SinkError> {
        let array = normal(array)?;
        let values = match array.data_type() {
            DataType::Boolean => Values::Bool(array.as_boolean().clone()),
            DataType::Int16 => Values::Int2(array.as_primitive().clone()),
            DataType::Int32 => Values::Int4(array.as_primitive().clone()),
            DataType::Int64 => Values::Int8(array.as_primitive().clone()),
            DataType::Float32 => Values::Float4(array.as_primitive().clone()),
            DataType::Float64 => Values::Float8(array.as_primitive().clone()),
            DataType::Decimal128(..) => Values::Decimal128(array.as_primitive().clone()),
            DataType::Decimal256(..) => Values::Decimal256(array.as_primitive().clone()),
            DataType::Utf8 => Values::Text(array.as_string().clone()),
            DataType::Binary => Values::Binary(array.as_binary().clone()),
            DataType::Date32 => Values::Date(array.as_primitive().clone()),
            DataType::Time64(_) => Values::Time(array.as_primitive().clone()),
            DataType::Timestamp(..) => Values::Timestamp(array.as_primitive().clone()),
            DataType::Interval(_) => Values::Interval(array.as_primitive().clone()),
            DataType::List(_) => {
                let list = array.as_list::<i32>().clone();
                let items = PgColumn { array: false, ..column.clone() };
                let items = Self::new(&items, list.values())?;
                Values::List(list, Box::new(items))
            }
            other => {
                return Err(SinkError::UnsupportedType {
                    column: column.name.clone(),
                    data_type: other.to_string(),
                });
            }
        };
        Ok(Self { column: column.clone(), array, values })
    }

    /// Whether the value is NULL.
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// Writes a value behind its length, or the length −1 for NULL.
    ///
    /// # Errors
    /// When the value is not what its column's type promises.
    pub(super) fn write_field(&self, row: usize, out: &mut BytesMut) -> Result<(), SinkError> {
        if self.is_null(row) {
            out.put_i32(-1);
            return Ok(());
        }
        let start = out.len();
        out.put_i32(0);
        self.write(row, out)?;
        let written = out.len() - start - 4;
        let Ok(length) = i32::try_from(written) else {
            return Err(self.wrong("it is larger than 2 GiB"));
        };
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn write(&self, row: usize, out: &mut BytesMut) -> Result<(), SinkError> {
        match &self.values {
            Values::Bool(values) => out.put_u8(u8::from(values.value(row))),
            Values::Int2(values) => out.put_i16(values.value(row)),
            Values::Int4(values) => out.put_i32(values.value(row)),
            Values::Int8(values) => out.put_i64(values.value(row)),
            Values::Float4(values) => out.put_f32(values.value(row)),
            Values::Float8(values) => out.put_f64(values.value(row)),
            Values::Decimal128(values) => {
                self.write_numeric(&values.value(row), values.scale(), out)?;
            }
            Values::Decimal256(values) => {
                self.write_numeric(&values.value(row), values.scale(), out)?;
            }
            Values::Text(values) => self.write_text(values.value(row), out)?,
            Values::Binary(values) => out.put_slice(values.value(row)),
            Values::Date(values) => out.put_i32(match values.value(row) {
                infinite @ (i32::MIN | i32::MAX) => infinite,
                days => days
                    .checked_sub(EPOCH_DAYS)
                    .ok_or_else(|| self.wrong("the date is out of range"))?,
            }),
            Values::Time(values) => out.put_i64(values.value(row)),
            Values::Timestamp(values) => out.put_i64(match values.value(row) {
                infinite @ (i64::MIN | i64::MAX) => infinite,
                us => us
                    .checked_sub(EPOCH_US)
                    .ok_or_else(|| self.wrong("the timestamp is out of range"))?,
            }),
            Values::Interval(values) => {
                let value = values.value(row);
                out.put_i64(value.nanoseconds / 1_000);
                out.put_i32(value.days);
                out.put_i32(value.months);
            }
            Values::List(list, items) => self.write_list(list, items, row, out)?,
        }
        Ok(())
    }

    fn write_text(&self, text: &str, out: &mut BytesMut) -> Result<(), SinkError> {
        match self.column.scalar {
            Scalar::Uuid => {
                let uuid = uuid(text).ok_or_else(|| self.wrong("it is not a UUID"))?;
                out.put_slice(&uuid);
            }
            Scalar::Jsonb => {
                // The version of the binary form.
                out.put_u8(1);
                out.put_slice(text.as_bytes());
            }
            _ => out.put_slice(text.as_bytes()),
        }
        Ok(())
    }

    fn write_list(
        &self,
        list: &ListArray,
        items: &Self,
        row: usize,
        out: &mut BytesMut,
    ) -> Result<(), SinkError> {
        let offsets = list.value_offsets();
        let (start, end) = (offsets[row], offsets[row + 1]);
        let range = index(start)..index(end);
        out.put_i32(i32::from(!range.is_empty()));
        out.put_i32(i32::from(range.clone().any(|item| items.is_null(item))));
        out.put_u32(self.column.scalar.wire().oid());
        if !range.is_empty() {
            out.put_i32(end - start);
            // The index of the first element.
            out.put_i32(1);
        }
        range.into_iter().try_for_each(|item| items.write_field(item, out))
    }

    fn write_numeric(
        &self,
        unscaled: &dyn std::fmt::Display,
        scale: i8,
        out: &mut BytesMut,
    ) -> Result<(), SinkError> {
        let mut number = String::with_capacity(80);
        write!(number, "{unscaled}").expect("a String takes everything");
        let zeros = match self.column.scalar {
            Scalar::Numeric { scale: None } => Zeros::Trimmed,
            _ => Zeros::Kept,
        };
        write_numeric(&number, scale, zeros, out)
            .ok_or_else(|| self.wrong("the number is out of range"))
    }

    fn wrong(&self, problem: &str) -> SinkError {
        SinkError::Value { column: self.column.name.clone(), problem: problem.to_owned() }
    }
}

/// Whether zeros at the end of a fraction are significant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    Kept,
    Trimmed,
}

/// Writes `number × 10^−scale` as base-10000 digits, without the zeros at either end.
fn write_numeric(number: &str, scale: i8, zeros: Zeros, out: &mut BytesMut) -> Option<()> {
    let digits = number.trim_start_matches('-');
    let negative = digits.len() < number.len();
    let mut decimal = digits.trim_start_matches('0').as_bytes().to_vec();
    if scale < 0 && !decimal.is_empty() {
        decimal.resize(decimal.len() + usize::from(scale.unsigned_abs()), b'0');
    }
    let mut scale = usize::try_from(scale.max(0)).ok()?;
    if zeros == Zeros::Trimmed {
        while scale > 0 && decimal.last().is_none_or(|&digit| digit == b'0') {
            decimal.pop();
            scale -= 1;
        }
    }
    // Align the decimal point with a group of four: zeros behind, and zeros before.
    decimal.resize(decimal.len() + (4 - scale % 4) % 4, b'0');
    let fraction_groups = scale.div_ceil(4);
    let before = (4 - decimal.len() % 4) % 4;
    decimal.splice(0..0, std::iter::repeat_n(b'0', before));
    let groups: Vec<i16> = decimal
        .chunks(4)
        .map(|group| group.iter().fold(0, |sum, &digit| sum * 10 + i16::from(digit - b'0')))
        .collect();
    let mut weight = i16::try_from(groups.len()).ok()? - i16::try_from(fraction_groups).ok()? - 1;
    let leading = groups.iter().take_while(|&&group| group == 0).count();
    let groups = &groups[leading..];
    weight -= i16::try_from(leading).ok()?;
    let trailing = groups.iter().rev().take_while(|&&group| group == 0).count();
    let groups = &groups[..groups.len() - trailing];
    if groups.is_empty() {
        weight = 0;
    }
    out.put_i16(i16::try_from(groups.len()).ok()?);
    out.put_i16(weight);
    out.put_u16(if negative && !groups.is_empty() { 0x4000 } else { 0 });
    out.put_u16(u16::try_from(scale).ok()?);
    groups.iter().for_each(|&group| out.put_i16(group));
    Some(())
}

/// Casts to the one Arrow type that stands for its PostgreSQL type.
fn normal(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let to = match array.data_type() {
        DataType::Dictionary(_, value) => {
            return normal(&cast(array, value)?);
        }
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Nanosecond) => {
            DataType::Time64(TimeUnit::Microsecond)
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => return Ok(ArrayRef::clone(array)),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            // The zone is how it is shown; the value is UTC.
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        DataType::Timestamp(_, zone) => {
            let to = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            return normal(&cast(array, &to)?);
        }
        DataType::LargeList(item) => DataType::List(FieldRef::clone(item)),
        _ => return Ok(ArrayRef::clone(array)),
    };
    if let DataType::Timestamp(..) = to {
        let utc = array.as_primitive::<TimestampMicrosecondType>().clone();
        return Ok(std::sync::Arc::new(utc.with_timezone_opt(None::<&str>)));
    }
    cast(array, &to)
}

/// Reads 32 hexadecimal digits, with or without hyphens and braces.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0_u8; 16];
    let mut digits = 0;
    for character in text.chars().filter(|character| !matches!(character, '-' | '{' | '}')) {
        let digit = u8::try_from(character.to_digit(16)?).ok()?;
        let byte = bytes.get_mut(digits / 2)?;
        *byte = *byte << 4 | digit;
        digits += 1;
    }
    (digits == 32).then_some(bytes)
}

fn index(offset: i32) -> usize {
    usize::try_from(offset).expect("list offsets are not negative")
}

#[cfg(test)]
#[allow(clippy::cast_sign_loss, reason = "tests count small numbers")]
mod tests {
    use super::*;

    /// Reads the binary form back as PostgreSQL shows it.
    fn shown(number: &str, scale: i8, zeros: Zeros) -> String {
        let mut out = BytesMut::new();
        write_numeric(number, scale, zeros, &mut out).unwrap();
        let words: Vec<i32> =
            out.chunks(2).map(|w| i32::from(i16::from_be_bytes([w[0], w[1]]))).collect();
        let (count, weight, sign, scale) = (words[0], words[1], words[2], words[3]);
        let group = |at: i32| if (0..count).contains(&at) { words[4 + at as usize] } else { 0 };
        let whole: String = (0..=weight).map(|at| format!("{:04}", group(at))).collect();
        let fraction: String =
            (0..(scale + 3) / 4).map(|at| format!("{:04}", group(weight + 1 + at))).collect();
        let whole = whole.trim_start_matches('0');
        let sign = if sign == 0 { "" } else { "-" };
        let whole = if whole.is_empty() { "0" } else { whole };
        let fraction = &fraction[..scale as usize];
        if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }

    #[test]
    fn numerics_keep_every_digit() {
        assert_eq!(shown("0", 0, Zeros::Kept), "0");
        assert_eq!(shown("0", 2, Zeros::Kept), "0.00");
        assert_eq!(shown("-1", 0, Zeros::Kept), "-1");
        assert_eq!(shown("123456789", 4, Zeros::Kept), "12345.6789");
        assert_eq!(shown("1230", 2, Zeros::Kept), "12.30");
        assert_eq!(shown("10000", 0, Zeros::Kept), "10000");
        assert_eq!(shown("100000000", 0, Zeros::Kept), "100000000");
        assert_eq!(shown("1", 7, Zeros::Kept), "0.0000001");
        assert_eq!(shown("1500000000000000000", 18, Zeros::Trimmed), "1.5");
        assert_eq!(shown("-2000000000000000000", 18, Zeros::Trimmed), "-2");
        assert_eq!(shown("0", 18, Zeros::Trimmed), "0");
        assert_eq!(shown("1", 18, Zeros::Trimmed), "0.000000000000000001");
        assert_eq!(shown("5", -3, Zeros::Kept), "5000");
        let long = "9".repeat(76);
        assert_eq!(shown(&long, 18, Zeros::Trimmed), format!("{}.{}", &long[..58], &long[..18]));
    }

    #[test]
    fn a_uuid_is_sixteen_bytes() {
        let bytes = uuid("a0EEbc99-9c0b-4ef8-bb6d-6bb9bd380a11").unwrap();
        assert_eq!(bytes[..3], [0xa0, 0xee, 0xbc]);
        assert_eq!(uuid("a0EEbc99"), None);
        assert_eq!(uuid("zz"), None);
        assert_eq!(uuid(&"0".repeat(33)), None);
    }
}
