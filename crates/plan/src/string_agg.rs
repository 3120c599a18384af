//! `string_agg` as PostgreSQL has it: its result is `text`.
//!
//! DataFusion's is of a type for long text, which nothing else here has: expressions over it would compare it with, and
//! cast it to, a type that no column is of.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as PlanResult;
use datafusion::functions_aggregate::string_agg::StringAgg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};

/// The function.
pub(crate) fn string_agg() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(AsText(StringAgg::new())))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsText(StringAgg);

impl AggregateUDFImpl for AsText {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, _arguments: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> PlanResult<Vec<FieldRef>> {
        self.0.state_fields(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> PlanResult<Box<dyn Accumulator>> {
        Ok(Box::new(Texts(self.0.accumulator(arguments)?)))
    }
}

/// Gives out the text that another accumulator makes.
#[derive(Debug)]
struct Texts(Box<dyn Accumulator>);

impl Accumulator for Texts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> PlanResult<()> {
        self.0.update_batch(values)
    }

    fn evaluate(&mut self) -> PlanResult<ScalarValue> {
        self.0.evaluate()?.cast_to(&DataType::Utf8)
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn state(&mut self) -> PlanResult<Vec<ScalarValue>> {
        self.0.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> PlanResult<()> {
        self.0.merge_batch(states)
    }
}
