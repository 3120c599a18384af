//! What a column is compared by: its values, but where bits or parts tell apart what is one value in SQL.
//!
//! Floats have one zero and one NaN. An interval is as long as its months of 30 days, its days of 24 hours and its time
//! together, so `1 mon` and `30 days` are one value; how it is written is kept beside, and plays no part here.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, Decimal128Array, ListArray};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Field, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit,
};

use crate::floats::folded;

/// A day, and a month of 30 of them, in nanoseconds.
const DAY_NS: i128 = 86_400_000_000_000;
const MONTH_NS: i128 = 30 * DAY_NS;

/// The type of intervals.
const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The type of intervals' lengths.
pub const SPAN: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// How long an interval is, in nanoseconds.
#[must_use]
pub fn span_ns(interval: IntervalMonthDayNano) -> i128 {
    i128::from(interval.months) * MONTH_NS
        + i128::from(interval.days) * DAY_NS
        + i128::from(interval.nanoseconds)
}

/// The column that compares as the values do in SQL: the lengths of intervals, also of those in lists, and floats that
/// are [folded].
///
/// # Panics
/// Never: a length has fewer digits than its type.
#[must_use]
pub fn ordered(column: &ArrayRef) -> ArrayRef {
    if let (Some(list), DataType::List(item)) = (column.as_list_opt::<i32>(), column.data_type()) {
        let items = ordered(list.values());
        let item = Arc::new(Field::new(item.name(), items.data_type().clone(), item.is_nullable()));
        let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
        return Arc::new(ListArray::new(item, offsets, items, nulls));
    }
    if *column.data_type() != INTERVAL {
        return folded(column);
    }
    let spans: Decimal128Array = column.as_primitive::<IntervalMonthDayNanoType>().unary(span_ns);
    let spans = spans.with_precision_and_scale(DECIMAL128_MAX_PRECISION, 0);
    Arc::new(spans.expect("a length has at most 26 digits"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, IntervalMonthDayNanoArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Decimal128Type;

    use super::*;

    #[test]
    fn an_interval_is_as_long_as_its_parts_together() {
        let parts = [
            (1, 0, 0),
            (0, 30, 0),
            (0, 29, 86_400_000_000_000),
            (0, -1, 1),
            (i32::MIN, i32::MIN, i64::MIN),
        ];
        let parts =
            parts.map(|(months, days, time)| Some(IntervalMonthDayNano::new(months, days, time)));
        let column: ArrayRef =
            Arc::new(IntervalMonthDayNanoArray::from_iter(parts.into_iter().chain([None])));
        let spans = ordered(&column);
        assert_eq!(*spans.data_type(), SPAN);
        let spans = spans.as_primitive::<Decimal128Type>();
        assert_eq!(spans.value(0), MONTH_NS);
        assert_eq!((spans.value(1), spans.value(2)), (MONTH_NS, MONTH_NS));
        assert_eq!(spans.value(3), 1 - DAY_NS);
        assert!(spans.value(4) < -MONTH_NS * 2_147_483_647 && spans.is_null(5));
    }

    #[test]
    fn lists_compare_by_their_items_lengths() {
        let items = [(1, 0), (0, 30)]
            .map(|(months, days)| Some(IntervalMonthDayNano::new(months, days, 0)));
        let items: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from_iter(items));
        let field = Arc::new(Field::new("item", INTERVAL, true));
        let offsets = OffsetBuffer::from_lengths([1, 1]);
        let lists: ArrayRef = Arc::new(ListArray::new(field, offsets, items, None));
        let told = ordered(&lists);
        let told = told.as_list::<i32>();
        assert_eq!(told.value(0).as_ref(), told.value(1).as_ref());
        assert_eq!(*told.value(0).data_type(), SPAN);
    }
}
