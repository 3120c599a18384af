//! Which floats are one value: SQL has one zero and one NaN, where bits have two and many.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

/// Folds the floats of a column that are equal in SQL to one value: −0.0 to 0.0, and every NaN to one; also those in
/// lists.
#[must_use]
pub fn folded(column: &ArrayRef) -> ArrayRef {
    if !has_floats(column.data_type()) {
        return Arc::clone(column);
    }
    if let Some(values) = column.as_primitive_opt::<Float64Type>() {
        let fold = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
        return Arc::new(values.unary::<_, Float64Type>(fold));
    }
    if let Some(values) = column.as_primitive_opt::<Float32Type>() {
        let fold = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
        return Arc::new(values.unary::<_, Float32Type>(fold));
    }
    if let (Some(list), DataType::List(item)) = (column.as_list_opt::<i32>(), column.data_type()) {
        let (items, nulls) = (folded(list.values()), list.nulls().cloned());
        return Arc::new(ListArray::new(Arc::clone(item), list.offsets().clone(), items, nulls));
    }
    Arc::clone(column)
}

/// Whether values of a type are floats, or lists of them.
#[must_use]
pub fn has_floats(data_type: &DataType) -> bool {
    if let DataType::List(item) = data_type {
        return has_floats(item.data_type());
    }
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn zeros_and_nans_are_one_value_each_also_in_lists() {
        let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
        let bits = |array: &ArrayRef| -> Vec<Option<u64>> {
            array
                .as_primitive::<Float64Type>()
                .iter()
                .map(|value| value.map(f64::to_bits))
                .collect()
        };
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![
            Some(-0.0),
            Some(0.0),
            None,
            Some(other_nan),
            Some(-f64::NAN),
            Some(-1.5),
        ]));
        let zero = Some(0.0_f64.to_bits());
        let nan = Some(f64::NAN.to_bits());
        let wanted = [zero, zero, None, nan, nan, Some((-1.5_f64).to_bits())];
        assert_eq!(bits(&folded(&floats)), wanted);

        let item = Arc::new(Field::new("item", DataType::Float64, true));
        let offsets = OffsetBuffer::from_lengths([2, 0, 4]);
        let list: ArrayRef = Arc::new(ListArray::new(item, offsets.clone(), floats, None));
        let folded_list = folded(&list);
        assert_eq!(bits(folded_list.as_list::<i32>().values()), wanted);
        assert_eq!(folded_list.as_list::<i32>().offsets(), &offsets);

        let integers: ArrayRef = Arc::new(Int64Array::from(vec![0, -1]));
        assert_eq!(&folded(&integers), &integers);
    }
}
