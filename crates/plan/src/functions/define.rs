//! How a function of our own is said: its name, its arguments, what it gives, and what it does to columns.
//!
//! A function is strict unless it says otherwise: where an argument is NULL, it gives NULL.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use change::{logical_type, with_logical_type};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use crate::casts::{cast_array, is_text, type_name};

/// The least and the greatest number of arguments.
pub(crate) type Count = (usize, usize);

/// Any number of arguments from one on.
pub(super) const MANY: Count = (1, usize::MAX);

/// What a function gives: a type that does not depend on the arguments, or one that does.
#[derive(Clone)]
pub(crate) enum Gives {
    Always(DataType),
    /// Text of a logical type: json, jsonb, uuid.
    Logical(&'static str),
    /// By the types of the arguments.
    Of(fn(&[DataType]) -> PlanResult<DataType>),
    /// By the fields and constant values of the arguments.
    Field(fn(&ReturnFieldArgs<'_>) -> PlanResult<FieldRef>),
}

type Body = fn(&Arguments) -> PlanResult<ArrayRef>;

/// A function of our own.
#[derive(Clone)]
pub(super) struct Function {
    name: &'static str,
    signature: Signature,
    gives: Gives,
    body: Body,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Two functions of one name are the same.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// Says a function of values of any type; its body reads them as it needs them.
pub(crate) fn of_any(name: &'static str, count: Count, gives: Gives, body: Body) -> ScalarUDF {
    let signature = match count {
        (0, usize::MAX) => {
            TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny])
        }
        (_, usize::MAX) => TypeSignature::VariadicAny,
        (0, 0) => TypeSignature::Nullary,
        (least, most) => {
            let counts = (least.max(1)..=most).map(TypeSignature::Any);
            let none = (least == 0).then_some(TypeSignature::Nullary);
            TypeSignature::OneOf(none.into_iter().chain(counts).collect())
        }
    };
    function(name, signature, gives, body)
}

fn function(name: &'static str, signature: TypeSignature, gives: Gives, body: Body) -> ScalarUDF {
    let signature = Signature::new(signature, Volatility::Immutable);
    ScalarUDF::from(Function { name, signature, gives, body })
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> PlanResult<DataType> {
        match &self.gives {
            Gives::Always(data_type) => Ok(data_type.clone()),
            Gives::Logical(_) => Ok(DataType::Utf8),
            Gives::Of(of) => of(arguments),
            Gives::Field(_) => Err(DataFusionError::Internal("fields are needed".to_owned())),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> PlanResult<FieldRef> {
        let types: Vec<DataType> =
            arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let field = |data_type| arrow::datatypes::Field::new(self.name, data_type, true);
        Ok(match &self.gives {
            Gives::Field(of) => of(&arguments)?,
            Gives::Logical(logical) => Arc::new(with_logical_type(field(DataType::Utf8), logical)),
            Gives::Always(_) | Gives::Of(_) => Arc::new(field(self.return_type(&types)?)),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let constant = arguments.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { arguments.number_rows };
        let arrays = arguments.args.into_iter().map(|value| value.into_array_of_size(rows));
        let called = Arguments {
            arrays: arrays.collect::<PlanResult<_>>()?,
            fields: arguments.arg_fields,
            gives: arguments.return_field,
            rows,
        };
        let result = (self.body)(&called)?;
        if constant {
            let value = datafusion::common::ScalarValue::try_from_array(&result, 0)?;
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// The values that a function is called with.
pub(crate) struct Arguments {
    arrays: Vec<ArrayRef>,
    fields: Vec<FieldRef>,
    gives: FieldRef,
    rows: usize,
}

impl Arguments {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.arrays.len()
    }

    /// How many rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether an argument is text, or a NULL that could be.
    pub(crate) fn is_text(&self, at: usize) -> bool {
        let data_type = self.array(at).data_type();
        is_text(data_type) || *data_type == DataType::Null
    }

    /// A column as it came.
    pub(crate) fn array(&self, at: usize) -> &ArrayRef {
        &self.arrays[at]
    }

    /// A column's field.
    pub(crate) fn field(&self, at: usize) -> &FieldRef {
        &self.fields[at]
    }

    /// What Arrow's type leaves out of a column.
    pub(crate) fn logical(&self, at: usize) -> Option<&str> {
        logical_type(&self.fields[at])
    }

    /// The type of the result.
    pub(crate) fn gives(&self) -> &DataType {
        self.gives.data_type()
    }

    /// The result's field.
    pub(crate) fn gives_field(&self) -> &FieldRef {
        &self.gives
    }

    /// A column as another type.
    pub(crate) fn cast(&self, at: usize, to: &DataType) -> PlanResult<ArrayRef> {
        cast_array(&self.arrays[at], &self.fields[at], to)
    }

    /// A column as text.
    pub(crate) fn texts(&self, at: usize) -> PlanResult<StringArray> {
        Ok(self.cast(at, &DataType::Utf8)?.as_string::<i32>().clone())
    }

    /// A column as text, and NULL in every row when there is none.
    pub(crate) fn texts_or_null(&self, at: usize) -> PlanResult<StringArray> {
        if at < self.count() { self.texts(at) } else { Ok(StringArray::new_null(self.rows)) }
    }

    /// A column as whole numbers.
    pub(crate) fn integers(&self, at: usize) -> PlanResult<Int64Array> {
        Ok(self.cast(at, &DataType::Int64)?.as_primitive().clone())
    }

    /// A column as whole numbers, or the same number in every row when there is none.
    pub(crate) fn integers_or(&self, at: usize, number: i64) -> PlanResult<Int64Array> {
        if at < self.count() {
            self.integers(at)
        } else {
            Ok(Int64Array::from_value(number, self.rows))
        }
    }

    /// A column as timestamps in microseconds.
    pub(crate) fn timestamps(&self, at: usize) -> PlanResult<TimestampMicrosecondArray> {
        let zone = match self.arrays[at].data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let array = self.cast(at, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
        Ok(array.as_primitive().clone())
    }

    /// Computes a text for each row in which no argument is NULL.
    pub(crate) fn text_of_each(
        &self,
        mut of: impl FnMut(usize) -> PlanResult<Option<String>>,
    ) -> PlanResult<ArrayRef> {
        let texts = (0..self.rows).map(|row| if self.any_null(row) { Ok(None) } else { of(row) });
        Ok(Arc::new(texts.collect::<PlanResult<StringArray>>()?))
    }

    /// Computes a number for each row in which no argument is NULL.
    pub(crate) fn integer_of_each(
        &self,
        mut of: impl FnMut(usize) -> PlanResult<Option<i64>>,
    ) -> PlanResult<ArrayRef> {
        let numbers = (0..self.rows).map(|row| if self.any_null(row) { Ok(None) } else { of(row) });
        let numbers: ArrayRef = Arc::new(numbers.collect::<PlanResult<Int64Array>>()?);
        narrowed(&numbers, self.gives())
    }

    /// Computes a condition for each row in which no argument is NULL.
    pub(crate) fn truth_of_each(
        &self,
        mut of: impl FnMut(usize) -> PlanResult<Option<bool>>,
    ) -> PlanResult<ArrayRef> {
        let truths = (0..self.rows).map(|row| if self.any_null(row) { Ok(None) } else { of(row) });
        Ok(Arc::new(truths.collect::<PlanResult<BooleanArray>>()?))
    }

    /// Whether an argument is NULL in a row.
    pub(crate) fn any_null(&self, row: usize) -> bool {
        self.arrays.iter().any(|array| array.is_null(row) || *array.data_type() == DataType::Null)
    }
}

/// Whole numbers as the type that is wanted, also dates and times.
pub(crate) fn narrowed(numbers: &ArrayRef, to: &DataType) -> PlanResult<ArrayRef> {
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    let narrow = match to {
        DataType::Date32 => arrow::compute::cast_with_options(numbers, &DataType::Int32, &options)?,
        _ => Arc::clone(numbers),
    };
    Ok(arrow::compute::cast_with_options(&narrow, to, &options)?)
}

/// The text of a value whose type is text to Arrow only; see [`named`](crate::named).
pub(crate) fn text_of_named() -> ScalarUDF {
    let gives = |types: &[DataType]| Ok(types[0].clone());
    of_any("text_of_named", (1, 1), Gives::Of(gives), crate::named::texts_of_named)
}

/// Says why a row cannot be computed.
pub(crate) fn fails<T>(reason: impl Into<String>) -> PlanResult<T> {
    Err(DataFusionError::Execution(reason.into()))
}

/// Refuses a call when it is planned.
pub(crate) fn refuses<T>(reason: impl Into<String>) -> PlanResult<T> {
    Err(DataFusionError::Plan(reason.into()))
}

/// Refuses values of a type that a function does not take.
pub(crate) fn takes_no<T>(name: &str, data_type: &DataType) -> PlanResult<T> {
    Err(DataFusionError::Plan(format!(
        "function '{name}' takes no value of this type: {}",
        type_name(data_type)
    )))
}
