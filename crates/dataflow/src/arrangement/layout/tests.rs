//! Rows of every type come back, and equal rows are equal words.

use arrow::array::{
    BinaryArray, Date32Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, NullArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, IntervalMonthDayNano, i256};

use super::*;

/// Columns of every kind, four rows each; the last two rows are equal.
fn columns() -> Vec<ArrayRef> {
    let long = "a text that does not fit into two words";
    let interval = |months, nanoseconds| IntervalMonthDayNano { months, days: 3, nanoseconds };
    let lists = vec![Some(vec![Some(1), None]), Some(vec![]), None, None];
    vec![
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(false)])),
        Arc::new(Int8Array::from(vec![Some(-1), Some(7), None, None])),
        Arc::new(Int16Array::from(vec![Some(-2), None, Some(300), Some(300)])),
        Arc::new(Int32Array::from(vec![-3, 4, 5, 5])),
        Arc::new(Date32Array::from(vec![Some(19_000), None, Some(-1), Some(-1)])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(0), Some(0)])),
        Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3, 3]).with_timezone("UTC")),
        Arc::new(Float32Array::from(vec![Some(1.5), None, Some(-0.0), Some(-0.0)])),
        Arc::new(Float64Array::from(vec![Some(f64::MAX), None, Some(0.1), Some(0.1)])),
        Arc::new(Decimal128Array::from(vec![Some(-7), None, Some(1 << 90), Some(1 << 90)])),
        Arc::new(Decimal256Array::from(vec![
            Some(i256::MIN),
            None,
            Some(i256::ONE),
            Some(i256::ONE),
        ])),
        Arc::new(IntervalMonthDayNanoArray::from(vec![
            Some(interval(-1, 5)),
            None,
            Some(interval(2, i64::MAX)),
            Some(interval(2, i64::MAX)),
        ])),
        Arc::new(StringArray::from(vec![
            Some(""),
            Some(long),
            Some("twelve bytes"),
            Some("twelve bytes"),
        ])),
        Arc::new(StringArray::from(vec![None, Some("thirteen byte"), Some(long), Some(long)])),
        Arc::new(BinaryArray::from(vec![Some(&b"\xff"[..]), None, Some(&[0; 30]), Some(&[0; 30])])),
        Arc::new(
            FixedSizeBinaryArray::try_from_iter([[1_u8; 16], [2; 16], [0; 16], [0; 16]].iter())
                .unwrap(),
        ),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        Arc::new(NullArray::new(4)),
    ]
}

fn pages(encoded: &Encoded) -> Pages {
    let mut pages = Pages::new(encoded.stride);
    let rows = encoded.words.chunks_exact(encoded.stride);
    pages.reserve(rows.len());
    rows.zip(0..).for_each(|(row, at)| pages.row_mut(at).copy_from_slice(row));
    pages
}

#[test]
fn rows_of_every_type_come_back_and_equal_rows_are_equal_words() {
    let columns = columns();
    let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
    let layout = Layout::new(&types, Floats::Kept).unwrap();
    let (mut texts, mut encoded) = (Texts::default(), Encoded::default());
    layout.encode(&mut texts, &columns, 4, &mut encoded).unwrap();
    assert!(encoded.has_nulls);
    assert_eq!(encoded.row(2), encoded.row(3));
    assert!(encoded.row(0) != encoded.row(1) && encoded.row(1) != encoded.row(2));
    let words = &pages(&encoded);
    let stored = Stored { words, has_nulls: encoded.has_nulls, texts: &texts };
    let positions = [3, 0, 1];
    for (at, column) in columns.iter().enumerate() {
        let gathered = layout.gather(at, stored, &positions).unwrap();
        let wanted = arrow::compute::take(
            column,
            &arrow::array::UInt32Array::from(positions.to_vec()),
            None,
        );
        assert_eq!(&gathered, &wanted.unwrap(), "column {at}");
    }
}

#[test]
fn sliced_columns_are_read_from_their_offset() {
    let columns: Vec<ArrayRef> = columns().iter().map(|column| column.slice(1, 2)).collect();
    let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
    let layout = Layout::new(&types, Floats::Kept).unwrap();
    let (mut texts, mut encoded) = (Texts::default(), Encoded::default());
    layout.encode(&mut texts, &columns, 2, &mut encoded).unwrap();
    let words = &pages(&encoded);
    let stored = Stored { words, has_nulls: encoded.has_nulls, texts: &texts };
    for (at, column) in columns.iter().enumerate() {
        assert_eq!(&layout.gather(at, stored, &[0, 1]).unwrap(), column, "column {at}");
    }
}

#[test]
fn narrow_columns_share_a_word() {
    let words = |types: &[DataType]| Layout::new(types, Floats::Kept).unwrap().value_words();
    assert_eq!(words(&[]), 0);
    assert_eq!(words(&[DataType::Boolean]), 1);
    assert_eq!(words(&[DataType::Int32, DataType::Int64, DataType::Date32]), 2);
    assert_eq!(words(&[DataType::Boolean, DataType::Int16, DataType::Int32, DataType::Int8]), 1);
}

#[test]
fn floats_that_are_equal_in_sql_are_equal_words_when_folded() {
    let column: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
    let equal = |floats| {
        let layout = Layout::new(&[DataType::Float64], floats).unwrap();
        let mut encoded = Encoded::default();
        let columns = std::slice::from_ref(&column);
        layout.encode(&mut Texts::default(), columns, 4, &mut encoded).unwrap();
        (encoded.row(0) == encoded.row(1), encoded.row(2) == encoded.row(3))
    };
    assert_eq!(equal(Floats::Folded), (true, true));
    assert_eq!(equal(Floats::Kept), (false, false));
}
