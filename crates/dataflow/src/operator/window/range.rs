//! Bounds of RANGE frames: the order key's value, shifted.
//!
//! The frame of a row with value v begins, say, at the first row whose value is at least v − offset. The shifted values
//! are computed for all rows at once and encoded like the order key itself, so the bound is found by its bytes. A value
//! that cannot be shifted, because the result does not fit its type, lies before or behind all others. NULL is not
//! shifted: NULLs are peers, and no distance from anything else.

#![allow(clippy::wildcard_enum_match_arm, reason = "few of Arrow's types are intervals")]

use arrow::array::{Array, ArrayRef, Scalar};
use arrow::compute::kernels::numeric::{add, sub};
use arrow::compute::{SortOptions, cast, concat};
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;

use crate::arrangement::{Codec, Encoded};

/// A distance from the order key's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shift {
    by: ScalarValue,
    /// Whether it is added to the value or taken away.
    is_added: bool,
    /// Whether it leads to rows behind, or to rows before.
    pub(super) is_forward: bool,
}

/// Where a value lies that was shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// The value is NULL.
    Null,
    /// Beyond what the type holds, in the direction of the shift.
    Beyond,
    /// At the bytes of this number.
    At(usize),
}

/// The limits of rows.
pub(super) struct Limits {
    pub(super) limits: Vec<Limit>,
    pub(super) encoded: Encoded,
}

/// An interval of months is not always as many days: reaches are longer by more than the difference.
const SLACK_DAYS: i32 = 5;

impl Shift {
    /// A shift toward the rows behind or before, in an order.
    pub(super) fn new(by: &ScalarValue, is_forward: bool, order: SortOptions) -> Self {
        Self { by: by.clone(), is_added: is_forward != order.descending, is_forward }
    }

    /// Computes the limits of an order key's values.
    pub(super) fn limits(&self, values: &ArrayRef, codec: &Codec) -> Result<Limits, ArrowError> {
        self.encode(values, self.apply(values)?, codec)
    }

    /// Computes how far the rows lie whose limit may be at these values: the shift undone, and a little more.
    pub(super) fn reaches(&self, values: &ArrayRef, codec: &Codec) -> Result<Limits, ArrowError> {
        let back =
            Self { is_added: !self.is_added, is_forward: !self.is_forward, by: self.by.clone() };
        let mut reached = back.apply(values)?;
        if let DataType::Interval(_) = self.by.data_type() {
            let days = IntervalMonthDayNano::new(0, SLACK_DAYS, 0);
            let by = ScalarValue::IntervalMonthDayNano(Some(days));
            reached = Self { by, ..back.clone() }.apply(&reached)?;
        }
        back.encode(values, reached, codec)
    }

    fn encode(
        &self,
        values: &ArrayRef,
        shifted: ArrayRef,
        codec: &Codec,
    ) -> Result<Limits, ArrowError> {
        let limit = |row: usize| match (values.is_null(row), shifted.is_null(row)) {
            (true, _) => Limit::Null,
            (false, true) => Limit::Beyond,
            (false, false) => Limit::At(row),
        };
        let limits = (0..values.len()).map(limit).collect();
        Ok(Limits { limits, encoded: codec.encode(&[shifted])? })
    }

    /// Shifts values; NULL where the result does not fit.
    fn apply(&self, values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let by = Scalar::new(
            self.by.to_array().map_err(|error| ArrowError::ComputeError(error.to_string()))?,
        );
        let shift = |values: &ArrayRef| {
            let shifted = if self.is_added { add(values, &by) } else { sub(values, &by) };
            shifted.and_then(|shifted| cast(&shifted, values.data_type()))
        };
        match shift(values) {
            Ok(shifted) => Ok(shifted),
            // One value does not fit: each is tried alone.
            Err(_) if values.len() > 1 => {
                let each = (0..values.len()).map(|row| self.apply(&values.slice(row, 1)));
                let each = each.collect::<Result<Vec<_>, _>>()?;
                concat(&each.iter().map(|value| value.as_ref()).collect::<Vec<_>>())
            }
            Err(ArrowError::ArithmeticOverflow(_) | ArrowError::ComputeError(_))
                if values.len() == 1 =>
            {
                Ok(arrow::array::new_null_array(values.data_type(), 1))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether values of a type can be shifted so.
    pub(super) fn check(&self, data_type: &DataType) -> Result<(), ArrowError> {
        self.apply(&arrow::array::new_empty_array(data_type)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Int32Array};

    use super::*;
    use crate::arrangement::Floats;

    fn options(descending: bool) -> SortOptions {
        SortOptions { descending, nulls_first: false }
    }

    fn codec(data_type: DataType, options: SortOptions) -> Codec {
        Codec::sorted(vec![(data_type, options)], Floats::Folded).unwrap()
    }

    #[test]
    fn a_month_before_is_a_day_of_that_month_and_changes_reach_back_from_it() {
        let month = ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(1, 0, 0)));
        let codec = codec(DataType::Date32, options(false));
        let shift = Shift::new(&month, false, options(false));
        shift.check(&DataType::Date32).unwrap();
        // 31 March 2024, a month before which is 29 February.
        let (march, february) = (19_813, 19_782);
        let days = |day: i32| -> ArrayRef { Arc::new(Date32Array::from(vec![Some(day), None])) };
        let bytes = |day: i32| codec.encode(&[days(day)]).unwrap().row(0).to_vec();
        let limits = shift.limits(&days(march), &codec).unwrap();
        assert_eq!(limits.limits, [Limit::At(0), Limit::Null]);
        assert_eq!(limits.encoded.row(0), bytes(february));
        let reaches = shift.reaches(&days(february), &codec).unwrap();
        assert!(reaches.encoded.row(0) >= &bytes(march)[..]);
    }

    #[test]
    fn values_that_do_not_fit_lie_beyond_all_others() {
        let one = ScalarValue::Int32(Some(1));
        let values: ArrayRef = Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(7)]));
        for (is_forward, descending) in [(false, false), (true, true)] {
            let shift = Shift::new(&one, is_forward, options(descending));
            let codec = codec(DataType::Int32, options(descending));
            let limits = shift.limits(&values, &codec).unwrap();
            assert_eq!(limits.limits, [Limit::Beyond, Limit::Null, Limit::At(2)]);
            let six: ArrayRef = Arc::new(Int32Array::from(vec![6]));
            assert_eq!(limits.encoded.row(2), codec.encode(&[six]).unwrap().row(0));
        }
    }
}
