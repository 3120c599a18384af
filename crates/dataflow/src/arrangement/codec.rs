//! Rows as bytes: comparing bytes compares rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, downcast_primitive_array};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, RowParser, Rows, SortField};
use change::floats::folded;

/// Which floats are the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floats {
    /// Every bit counts: for rows that must come back as they were, and for an order.
    Kept,
    /// −0.0 is 0.0, and every NaN is the same NaN: for keys, as SQL's equality says, also in lists.
    Folded,
}

/// Translates between columns and rows of bytes.
pub(crate) struct Codec {
    converter: RowConverter,
    parser: RowParser,
    types: Vec<DataType>,
    floats: Floats,
}

/// Rows of bytes, one for each row of a batch.
pub(crate) struct Encoded {
    rows: Rows,
    width: usize,
}

impl Codec {
    /// Makes a codec for ascending columns with NULLs first.
    pub(crate) fn new<'a>(
        types: impl IntoIterator<Item = &'a DataType>,
        floats: Floats,
    ) -> Result<Self, ArrowError> {
        let ascending = SortOptions { descending: false, nulls_first: true };
        let fields = types.into_iter().map(|data_type| (data_type.clone(), ascending));
        Self::sorted(fields.collect(), floats)
    }

    /// Makes a codec whose bytes sort as each column's options say.
    pub(crate) fn sorted(
        columns: Vec<(DataType, SortOptions)>,
        floats: Floats,
    ) -> Result<Self, ArrowError> {
        let field = |(data_type, options): &(DataType, SortOptions)| {
            SortField::new_with_options(data_type.clone(), *options)
        };
        let converter = RowConverter::new(columns.iter().map(field).collect())?;
        let types = columns.into_iter().map(|(data_type, _)| data_type).collect();
        let parser = converter.parser();
        Ok(Self { converter, parser, types, floats })
    }

    /// The type of a column.
    pub(crate) fn data_type(&self, column: usize) -> &DataType {
        &self.types[column]
    }

    /// Encodes the columns' rows.
    pub(crate) fn encode(&self, columns: &[ArrayRef]) -> Result<Encoded, ArrowError> {
        let rows = match self.floats {
            Floats::Kept => self.converter.convert_columns(columns)?,
            Floats::Folded => {
                let folded: Vec<ArrayRef> = columns.iter().map(folded).collect();
                self.converter.convert_columns(&folded)?
            }
        };
        Ok(Encoded { rows, width: columns.len() })
    }

    /// Decodes rows that this codec encoded.
    pub(crate) fn decode<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        if self.types.is_empty() {
            return Ok(Vec::new());
        }
        let rows = rows.into_iter().map(|bytes| self.parser.parse(bytes));
        let columns = self.converter.convert_rows(rows)?;
        let typed = columns.into_iter().zip(&self.types).map(|(column, data_type)| {
            let column = with_plain_nulls(column);
            if column.data_type() == data_type { Ok(column) } else { cast(&column, data_type) }
        });
        typed.collect()
    }
}

impl Encoded {
    /// The bytes of one row.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        if self.width == 0 { &[] } else { self.rows.row(row).data() }
    }
}

/// Puts a zero under every NULL. Arrow's rows come back with the smallest number there, and some of DataFusion's
/// functions compute with what is under a NULL: `date_trunc` overflows.
fn with_plain_nulls(column: ArrayRef) -> ArrayRef {
    fn zeroed<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>) -> ArrayRef {
        let zeroed: PrimitiveArray<T> = values.iter().collect();
        Arc::new(zeroed.with_data_type(values.data_type().clone()))
    }
    if column.null_count() == 0 {
        return column;
    }
    let values = column.as_ref();
    downcast_primitive_array!(
        values => zeroed(values),
        _ => column
    )
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Float64Array, TimestampMicrosecondArray};
    use arrow::datatypes::{TimeUnit, TimestampMicrosecondType};

    use super::*;

    #[test]
    fn folded_zeros_and_nans_are_one_key_and_kept_ones_are_not() {
        let column: ArrayRef =
            Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, 1.0]));
        let same = |floats, a, b| {
            let codec = Codec::new([&DataType::Float64], floats).unwrap();
            let rows = codec.encode(std::slice::from_ref(&column)).unwrap();
            rows.row(a) == rows.row(b)
        };
        assert!(same(Floats::Folded, 0, 1) && same(Floats::Folded, 2, 3));
        assert!(!same(Floats::Kept, 0, 1) && !same(Floats::Kept, 2, 3));
        assert!(!same(Floats::Folded, 0, 4));
    }

    #[test]
    fn a_null_comes_back_with_a_zero_under_it() {
        let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let codec = Codec::new([&kind], Floats::Kept).unwrap();
        let times = TimestampMicrosecondArray::from(vec![Some(7), None]).with_timezone("UTC");
        let encoded = codec.encode(&[Arc::new(times)]).unwrap();
        let decoded = codec.decode([encoded.row(0), encoded.row(1)]).unwrap();
        assert_eq!(decoded[0].data_type(), &kind);
        assert!(decoded[0].is_null(1));
        assert_eq!(
            decoded[0].as_primitive::<TimestampMicrosecondType>().values().as_ref(),
            &[7, 0]
        );
    }
}
