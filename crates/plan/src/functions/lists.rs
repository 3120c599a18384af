//! Functions of lists, which PostgreSQL calls arrays. Places are counted from 1; what is outside is NULL.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, StringArray, UInt32Array,
    new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field};
use arrow::row::{OwnedRow, RowConverter, SortField};
use change::floats::folded;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::ScalarUDF;

use super::define::{Arguments, Gives, fails, of_any, takes_no};
use crate::casts::{cast_array, written};

/// The functions.
pub(super) fn all() -> Vec<ScalarUDF> {
    let number = || Gives::Always(DataType::Int32);
    let truth = || Gives::Always(DataType::Boolean);
    let numbers =
        || Gives::Always(DataType::List(Arc::new(Field::new("item", DataType::Int32, true))));
    vec![
        of_any("array_item", (2, 2), Gives::Of(item_type), item),
        of_any("array_part", (3, 3), Gives::Of(list_type), part),
        of_any("array_length", (2, 2), number(), length),
        of_any("array_upper", (2, 2), number(), length),
        of_any("array_lower", (2, 2), number(), lower),
        of_any("cardinality", (1, 1), number(), |arguments| {
            let list = list(arguments, 0)?;
            arguments.integer_of_each(|row| Ok(i64::try_from(list.value(row).len()).ok()))
        }),
        of_any("array_ndims", (1, 1), number(), |arguments| {
            let list = list(arguments, 0)?;
            arguments.integer_of_each(|row| Ok((!list.value(row).is_empty()).then_some(1)))
        }),
        of_any("array_dims", (1, 1), Gives::Always(DataType::Utf8), |arguments| {
            let list = list(arguments, 0)?;
            arguments.text_of_each(|row| {
                let count = list.value(row).len();
                Ok((count > 0).then(|| format!("[1:{count}]")))
            })
        }),
        of_any("array_position", (2, 3), number(), position),
        of_any("array_positions", (2, 2), numbers(), positions),
        of_any("array_remove", (2, 2), Gives::Of(list_type), remove),
        of_any("array_replace", (3, 3), Gives::Of(list_type), replace),
        of_any("array_to_string", (2, 3), Gives::Always(DataType::Utf8), to_string),
        of_any("trim_array", (2, 2), Gives::Of(list_type), trim),
        of_any("array_fill", (2, 2), Gives::Of(filled_type), fill),
        of_any("array_has_equal", (2, 2), truth(), has_equal),
        of_any("array_overlaps", (2, 2), truth(), |arguments| {
            compared(arguments, |left, right| left.iter().flatten().any(|item| has(right, item)))
        }),
        of_any("array_holds", (2, 2), truth(), |arguments| compared(arguments, all_in)),
        of_any("array_held", (2, 2), truth(), |arguments| {
            compared(arguments, |left, right| all_in(right, left))
        }),
    ]
}

/// The same value with one zero and one NaN, so that its bits say what it is equal to.
pub(crate) fn folded_floats() -> ScalarUDF {
    let gives = |types: &[DataType]| Ok(types[0].clone());
    of_any("folded_floats", (1, 1), Gives::Of(gives), |arguments| Ok(folded(arguments.array(0))))
}

fn item_type(types: &[DataType]) -> PlanResult<DataType> {
    match &types[0] {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Ok(item.data_type().clone())
        }
        other => takes_no("a subscript", other),
    }
}

fn list_type(types: &[DataType]) -> PlanResult<DataType> {
    Ok(DataType::List(Arc::new(Field::new("item", item_type(types)?, true))))
}

fn filled_type(types: &[DataType]) -> PlanResult<DataType> {
    Ok(DataType::List(Arc::new(Field::new("item", types[0].clone(), true))))
}

fn list(arguments: &Arguments, at: usize) -> PlanResult<ListArray> {
    let array = arguments.array(at);
    match array.data_type() {
        DataType::List(_) => Ok(array.as_list::<i32>().clone()),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let to = DataType::List(Arc::clone(item));
            Ok(arrow::compute::cast(array, &to)?.as_list::<i32>().clone())
        }
        DataType::Null => {
            let to = DataType::List(Arc::new(Field::new("item", DataType::Null, true)));
            Ok(new_null_array(&to, array.len()).as_list::<i32>().clone())
        }
        other => takes_no(arguments.gives_field().name(), other),
    }
}

/// The first place of a row's items among all, and how many there are.
fn bounds(list: &ListArray, row: usize) -> (usize, usize) {
    let offsets = list.value_offsets();
    let [from, to] =
        [offsets[row], offsets[row + 1]].map(|offset| usize::try_from(offset).unwrap_or_default());
    (from, to - from)
}

/// `list[i]`.
fn item(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (list, places) = (list(arguments, 0)?, arguments.integers(1)?);
    let taken = (0..arguments.rows()).map(|row| {
        if list.is_null(row) || places.is_null(row) {
            return None;
        }
        let (from, count) = bounds(&list, row);
        let place = usize::try_from(places.value(row)).ok()?.checked_sub(1)?;
        (place < count).then(|| u32::try_from(from + place).ok()).flatten()
    });
    Ok(take(list.values(), &taken.collect::<UInt32Array>(), None)?)
}

/// Makes lists of items of another list's, by their places; `None` is NULL.
fn picked(
    list: &ListArray,
    rows: usize,
    mut of: impl FnMut(usize) -> PlanResult<Option<Vec<usize>>>,
) -> PlanResult<ListArray> {
    let (mut taken, mut ends, mut nulls) = (Vec::new(), vec![0_i32], Vec::with_capacity(rows));
    for row in 0..rows {
        let places = of(row)?;
        nulls.push(places.is_some());
        let places = places.into_iter().flatten().map(|place| u32::try_from(place).ok());
        taken.extend(places);
        ends.push(end_of(taken.len())?);
    }
    let items = take(list.values(), &UInt32Array::from(taken), None)?;
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(ListArray::new(field, offsets, items, Some(NullBuffer::from(nulls))))
}

fn end_of(count: usize) -> PlanResult<i32> {
    i32::try_from(count).map_err(|_many| DataFusionError::Execution("too many items".to_owned()))
}

/// `list[a:b]`.
fn part(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let list = list(arguments, 0)?;
    let (lows, highs) = (arguments.integers(1)?, arguments.integers(2)?);
    let parts = picked(&list, arguments.rows(), |row| {
        if arguments.any_null(row) {
            return Ok(None);
        }
        let (from, count) = bounds(&list, row);
        let low = usize::try_from(lows.value(row).max(1) - 1).unwrap_or(usize::MAX);
        let high = usize::try_from(highs.value(row).max(0)).unwrap_or(0).min(count);
        Ok(Some((low.min(high)..high).map(|place| from + place).collect()))
    })?;
    Ok(Arc::new(parts))
}

fn length(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (list, dimensions) = (list(arguments, 0)?, arguments.integers(1)?);
    arguments.integer_of_each(|row| {
        let count = list.value(row).len();
        let there = dimensions.value(row) == 1 && count > 0;
        Ok(there.then_some(count).and_then(|count| i64::try_from(count).ok()))
    })
}

fn lower(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (list, dimensions) = (list(arguments, 0)?, arguments.integers(1)?);
    arguments.integer_of_each(|row| {
        Ok((dimensions.value(row) == 1 && !list.value(row).is_empty()).then_some(1))
    })
}

/// Items as bytes that are equal when the items are.
struct Items(RowConverter);

impl Items {
    fn new(data_type: &DataType) -> PlanResult<Self> {
        Ok(Self(RowConverter::new(vec![SortField::new(data_type.clone())])?))
    }

    fn of(&self, items: &ArrayRef) -> PlanResult<Vec<Option<OwnedRow>>> {
        let rows = self.0.convert_columns(&[folded(items)])?;
        let row = |at: usize| items.is_valid(at).then(|| rows.row(at).owned());
        Ok((0..items.len()).map(row).collect())
    }
}

/// Values that are equal if their rows are; `None` for NULL.
type Comparable = Vec<Option<OwnedRow>>;

/// A list's items and another argument's values, comparable.
fn beside(
    arguments: &Arguments,
    list: &ListArray,
    at: usize,
) -> PlanResult<(Comparable, Comparable)> {
    let items = Items::new(&list.value_type())?;
    let values = match arguments.array(at).data_type() {
        DataType::Null => new_null_array(&list.value_type(), arguments.rows()),
        _ => arguments.cast(at, &list.value_type())?,
    };
    Ok((items.of(list.values())?, items.of(&values)?))
}

fn position(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let list = list(arguments, 0)?;
    let (items, values) = beside(arguments, &list, 1)?;
    let starts = arguments.integers_or(2, 1)?;
    let found = (0..arguments.rows()).map(|row| {
        if list.is_null(row) || starts.is_null(row) {
            return None;
        }
        let (from, count) = bounds(&list, row);
        let skipped = usize::try_from(starts.value(row).max(1) - 1).unwrap_or(usize::MAX);
        let place = (skipped.min(count)..count).find(|place| items[from + place] == values[row])?;
        i32::try_from(place + 1).ok()
    });
    Ok(Arc::new(found.collect::<Int32Array>()))
}

fn positions(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let list = list(arguments, 0)?;
    let (items, values) = beside(arguments, &list, 1)?;
    let (mut all, mut ends, mut nulls) = (Vec::new(), vec![0_i32], Vec::new());
    for (row, value) in values.iter().enumerate() {
        nulls.push(list.is_valid(row));
        if list.is_valid(row) {
            let (from, count) = bounds(&list, row);
            let found = (0..count).filter(|place| items[from + place] == *value);
            all.extend(found.filter_map(|place| i32::try_from(place + 1).ok()));
        }
        ends.push(end_of(all.len())?);
    }
    let field = Arc::new(Field::new("item", DataType::Int32, true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    let items: ArrayRef = Arc::new(Int32Array::from(all));
    Ok(Arc::new(ListArray::new(field, offsets, items, Some(NullBuffer::from(nulls)))))
}

/// `array_remove`: every item that equals the value.
fn remove(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let list = list(arguments, 0)?;
    let (items, values) = beside(arguments, &list, 1)?;
    let kept = picked(&list, arguments.rows(), |row| {
        if list.is_null(row) {
            return Ok(None);
        }
        let (from, count) = bounds(&list, row);
        let kept = (from..from + count).filter(|place| items[*place] != values[row]);
        Ok(Some(kept.collect()))
    })?;
    Ok(Arc::new(kept))
}

/// `array_replace`: every item that equals the value.
fn replace(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let list = list(arguments, 0)?;
    let (items, values) = beside(arguments, &list, 1)?;
    let others = match arguments.array(2).data_type() {
        DataType::Null => new_null_array(&list.value_type(), arguments.rows()),
        _ => arguments.cast(2, &list.value_type())?,
    };
    // The items first, and behind them each row's other value.
    let both = concat(&[list.values().as_ref(), others.as_ref()])?;
    let behind = list.values().len();
    let source = ListArray::new(
        Arc::new(Field::new("item", both.data_type().clone(), true)),
        OffsetBuffer::from_lengths([both.len()]),
        both,
        None,
    );
    let replaced = picked(&source, arguments.rows(), |row| {
        if list.is_null(row) {
            return Ok(None);
        }
        let (from, count) = bounds(&list, row);
        let place = |place: usize| if items[place] == values[row] { behind + row } else { place };
        Ok(Some((from..from + count).map(place).collect()))
    })?;
    Ok(Arc::new(replaced))
}

fn to_string(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let list = list(arguments, 0)?;
    let (separators, nulls) = (arguments.texts(1)?, arguments.texts_or_null(2)?);
    let items = match list.values().data_type() {
        DataType::Boolean => {
            let truths = list.values().as_boolean().iter();
            let letters = truths.map(|truth| Some(if truth? { "t" } else { "f" }));
            Arc::new(letters.collect::<StringArray>()) as ArrayRef
        }
        DataType::Utf8 => Arc::clone(list.values()),
        _ => written(list.values(), &Field::new("item", list.value_type(), true)),
    };
    let items = items.as_string::<i32>();
    let texts = (0..arguments.rows()).map(|row| {
        if list.is_null(row) || separators.is_null(row) {
            return None;
        }
        let (from, count) = bounds(&list, row);
        let shown = (from..from + count).filter_map(|place| match items.is_valid(place) {
            true => Some(items.value(place)),
            false => nulls.is_valid(row).then(|| nulls.value(row)),
        });
        Some(shown.collect::<Vec<_>>().join(separators.value(row)))
    });
    Ok(Arc::new(texts.collect::<StringArray>()))
}

fn trim(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (list, counts) = (list(arguments, 0)?, arguments.integers(1)?);
    let trimmed = picked(&list, arguments.rows(), |row| {
        if arguments.any_null(row) {
            return Ok(None);
        }
        let (from, count) = bounds(&list, row);
        match usize::try_from(counts.value(row)).ok().and_then(|less| count.checked_sub(less)) {
            Some(kept) => Ok(Some((from..from + kept).collect())),
            None => fails(format!("number of elements to trim must be between 0 and {count}")),
        }
    })?;
    Ok(Arc::new(trimmed))
}

/// `array_fill(value, array[count])`.
fn fill(arguments: &Arguments) -> PlanResult<ArrayRef> {
    const MOST: usize = 1_000_000;
    let counts = list(arguments, 1)?;
    let values = Arc::clone(arguments.array(0));
    let source = ListArray::new(
        Arc::new(Field::new("item", values.data_type().clone(), true)),
        OffsetBuffer::from_lengths([values.len()]),
        values,
        None,
    );
    let item = Field::new("item", counts.value_type(), true);
    let filled = picked(&source, arguments.rows(), |row| {
        if counts.is_null(row) {
            return fails("dimension array or low bound array cannot be null");
        }
        let count = cast_array(&counts.value(row), &item, &DataType::Int64)?;
        let count = count.as_primitive::<arrow::datatypes::Int64Type>();
        match (count.len(), count.iter().next().flatten().map(usize::try_from)) {
            (1, Some(Ok(count))) if count <= MOST => Ok(Some(vec![row; count])),
            _ => fails("array_fill makes one dimension of at most a million items"),
        }
    })?;
    Ok(Arc::new(filled))
}

fn has(items: &[Option<OwnedRow>], wanted: &OwnedRow) -> bool {
    items.iter().flatten().any(|item| item == wanted)
}

/// Whether all items of the second list are in the first; a NULL is in none.
fn all_in(holds: &[Option<OwnedRow>], items: &[Option<OwnedRow>]) -> bool {
    items.iter().all(|item| item.as_ref().is_some_and(|item| has(holds, item)))
}

/// `value = any (list)`: unknown when no item is the value and one is NULL.
fn has_equal(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let list = list(arguments, 0)?;
    let value = arguments.array(1).data_type();
    let wide = |data_type: &DataType| data_type.primitive_width().unwrap_or(0);
    let both = value.is_numeric() && list.value_type().is_numeric();
    let wider = both && (wide(value) > wide(&list.value_type()) || value.is_floating());
    let common = if wider { value.clone() } else { list.value_type() };
    let items = Items::new(&common)?;
    let field = Field::new("item", list.value_type(), true);
    let values = items.of(&arguments.cast(1, &common)?)?;
    let items = items.of(&cast_array(list.values(), &field, &common)?)?;
    let truths = (0..arguments.rows()).map(|row| {
        if list.is_null(row) {
            return None;
        }
        let (from, count) = bounds(&list, row);
        let mine = &items[from..from + count];
        match &values[row] {
            None => (count == 0).then_some(false),
            Some(value) if has(mine, value) => Some(true),
            Some(_) => mine.iter().all(Option::is_some).then_some(false),
        }
    });
    Ok(Arc::new(truths.collect::<BooleanArray>()))
}

/// Compares two lists of the same kind of items.
fn compared(
    arguments: &Arguments,
    holds: impl Fn(&[Option<OwnedRow>], &[Option<OwnedRow>]) -> bool,
) -> PlanResult<ArrayRef> {
    let (left, right) = (list(arguments, 0)?, list(arguments, 1)?);
    let wide = |list: &ListArray| list.value_type().primitive_width().unwrap_or(usize::MAX);
    let common = if wide(&left) >= wide(&right) { left.value_type() } else { right.value_type() };
    let items = Items::new(&common)?;
    let rows_of = |list: &ListArray| {
        let field = Field::new("item", list.value_type(), true);
        items.of(&cast_array(list.values(), &field, &common)?)
    };
    let (left_items, right_items) = (rows_of(&left)?, rows_of(&right)?);
    let truths = (0..arguments.rows()).map(|row| {
        if left.is_null(row) || right.is_null(row) {
            return None;
        }
        let of = |list: &ListArray, items: &'_ [Option<OwnedRow>]| {
            let (from, count) = bounds(list, row);
            items[from..from + count].to_vec()
        };
        // `@>` asks whether the left holds the right.
        Some(holds(&of(&left, &left_items), &of(&right, &right_items)))
    });
    Ok(Arc::new(truths.collect::<BooleanArray>()))
}
