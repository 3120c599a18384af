//! Aggregate: one row for each group, computed from sums that can be taken back.
//!
//! An aggregate function that is a function of sums over the rows is maintained by adding `diff * value` to the sums:
//! count, sum and avg need nothing else, and the rows are not kept. A minimum or a maximum is no sum; it needs the
//! multiset of the group's values, in order. An aggregate over DISTINCT values is a sum again, over the values whose
//! count in that multiset is above zero: a value that appears adds its term once, one that goes takes it back.
//!
//! While changes come, only sums and multisets move. At the step's end each touched group is computed once and compared
//! with the row that was shown for it: −old +new, or nothing when they are equal. A group is there as long as it has
//! rows; without group columns there is always one group, also over no rows, and the first step shows it.

mod total;
mod values;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use change::ChangeBatch;
use plan::ir::{AggregateCall, AggregateFunction};

use self::total::{Total, TotalKind};
use self::values::Values;
use super::{BuildError, EMIT_ROWS, Out};
use crate::arrangement::{Codec, Floats, Keys, Nulls, Slots, StateSize, Totals};
use crate::columns::{as_booleans, changes as batch_of, nullable, pick, take_rows};
use crate::error::OperatorError;

/// The word with how many rows a group has.
const ROWS: usize = 0;
/// The word that is 1 when a group was touched in this step.
const TOUCHED: usize = 1;
/// The first word of the totals.
const FIRST: usize = 2;

/// One row for each group.
pub(crate) struct Aggregate {
    group: Vec<usize>,
    schema: SchemaRef,
    arguments: Vec<Argument>,
    calls: Vec<Call>,
    keys: Keys,
    totals: Totals,
    codec: Codec,
    /// The results that each group was last shown with.
    shown: Slots,
    touched: Vec<u32>,
    numbers: Vec<u32>,
}

/// Values that calls read: a column, and the rows of it that count.
struct Argument {
    column: Option<usize>,
    filter: Option<usize>,
    totals: Vec<Total>,
    distinct_totals: Vec<Total>,
    values: Option<Values>,
}

/// How a call's result is found.
struct Call {
    output: DataType,
    result: Found,
}

/// Where a call's result lies.
enum Found {
    Count(Total),
    Sum(Total),
    Average(Total),
    Least(usize),
    Greatest(usize),
}

impl Aggregate {
    pub(super) fn new(
        input: &SchemaRef,
        group: &[usize],
        calls: &[AggregateCall],
        schema: &SchemaRef,
    ) -> Result<Self, BuildError> {
        let types: Vec<DataType> =
            group.iter().map(|&column| input.field(column).data_type().clone()).collect();
        let mut builder = Builder { input, arguments: Vec::new(), width: FIRST };
        let found = calls.iter().map(|call| builder.add(call)).collect::<Result<Vec<_>, _>>()?;
        let Builder { arguments, width, .. } = builder;
        let mut aggregate = Self {
            group: group.to_vec(),
            schema: nullable(schema),
            arguments,
            calls: found,
            keys: Keys::new(&types, Nulls::Equal, Floats::Folded)?,
            totals: Totals::new(width),
            codec: Codec::new(calls.iter().map(|call| &call.output), Floats::Kept)?,
            shown: Slots::default(),
            touched: Vec::new(),
            numbers: Vec::new(),
        };
        if aggregate.is_global() {
            aggregate.touch(&[], &[0])?;
        }
        Ok(aggregate)
    }

    /// Whether there is one group whatever the rows are.
    fn is_global(&self) -> bool {
        self.group.is_empty()
    }

    pub(super) fn push(&mut self, changes: &ChangeBatch) -> Result<(), OperatorError> {
        let columns = changes.rows().columns();
        self.touch(&pick(columns, &self.group), changes.diffs())?;
        for argument in &mut self.arguments {
            let column = argument.column.map(|column| &columns[column]);
            let filter = argument.filter.map(|filter| &columns[filter]);
            let weights = weights(changes.diffs(), column, filter);
            for total in &argument.totals {
                total.add(&mut self.totals, &self.numbers, column, &weights)?;
            }
            let (Some(values), Some(column)) = (&mut argument.values, column) else {
                continue;
            };
            let appeared = values.add(&self.numbers, column, &weights)?;
            for total in &argument.distinct_totals {
                total.add(&mut self.totals, &self.numbers, Some(column), &appeared)?;
            }
        }
        Ok(())
    }

    /// Finds the rows' groups, counts the rows, and notes that the groups were touched.
    fn touch(&mut self, key: &[ArrayRef], diffs: &[i64]) -> Result<(), arrow::error::ArrowError> {
        self.keys.resolve(key, diffs.len(), &mut self.numbers)?;
        self.totals.reserve(self.keys.upper());
        for (&group, &diff) in self.numbers.iter().zip(diffs) {
            let words = self.totals.get_mut(group);
            words[ROWS] = words[ROWS].wrapping_add_signed(diff);
            if words[TOUCHED] == 0 {
                words[TOUCHED] = 1;
                self.touched.push(group);
            }
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, out: &mut Out) -> Result<(), OperatorError> {
        let touched = std::mem::take(&mut self.touched);
        for groups in touched.chunks(EMIT_ROWS) {
            let (live, dead): (Vec<u32>, Vec<u32>) =
                groups.iter().copied().partition(|&group| self.is_live(group));
            let results = self.results(&live)?;
            let encoded = self.codec.encode(&results)?;
            let mut gone = dead;
            gone.retain(|&group| self.shown.get(group).is_some());
            let mut come = Vec::new();
            for (at, &group) in live.iter().enumerate() {
                let shown = self.shown.get(group);
                if shown != Some(encoded.row(at)) {
                    gone.extend(shown.map(|_| group));
                    come.push(crate::arrangement::number(at));
                }
            }
            self.emit_gone(&gone, out)?;
            self.emit_come(&live, &results, come.clone().into(), out)?;
            for group in gone {
                self.shown.remove(group);
            }
            for at in come {
                self.shown.set(live[at as usize], encoded.row(at as usize));
            }
            self.release(groups);
        }
        Ok(())
    }

    fn is_live(&self, group: u32) -> bool {
        self.is_global() || self.totals.get(group)[ROWS].cast_signed() > 0
    }

    fn emit_gone(&self, gone: &[u32], out: &mut Out) -> Result<(), OperatorError> {
        if gone.is_empty() {
            return Ok(());
        }
        let shown = |&group: &u32| self.shown.get(group).expect("what goes was shown");
        let mut columns = self.keys.columns(gone)?;
        columns.extend(self.codec.decode(gone.iter().map(shown))?);
        out.rows(batch_of(&self.schema, columns, vec![-1; gone.len()])?);
        Ok(())
    }

    fn emit_come(
        &self,
        live: &[u32],
        results: &[ArrayRef],
        come: UInt32Array,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        if come.is_empty() {
            return Ok(());
        }
        let groups: Vec<u32> = come.values().iter().map(|&at| live[at as usize]).collect();
        let mut columns = self.keys.columns(&groups)?;
        columns.extend(take_rows(results, &come)?);
        out.rows(batch_of(&self.schema, columns, vec![1; come.len()])?);
        Ok(())
    }

    /// Ends the step for groups: forgets those without rows.
    fn release(&mut self, groups: &[u32]) {
        for &group in groups {
            let words = self.totals.get_mut(group);
            words[TOUCHED] = 0;
            if words[ROWS] == 0 && !self.group.is_empty() {
                self.totals.clear(group);
                self.keys.release(group);
            }
        }
    }

    /// Computes the calls' results, one row for each group.
    fn results(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let mut columns = Vec::with_capacity(self.calls.len());
        for (at, call) in self.calls.iter().enumerate() {
            let overflow = || OperatorError::Overflow {
                column: self.schema.field(self.group.len() + at).name().clone(),
                data_type: call.output.clone(),
            };
            let column: ArrayRef = match &call.result {
                Found::Count(total) => {
                    let counts = groups.iter().map(|&group| total.count(&self.totals, group));
                    Arc::new(Int64Array::from_iter_values(counts))
                }
                Found::Sum(total) => {
                    total.sums(&self.totals, groups, &call.output).ok_or_else(overflow)?
                }
                Found::Average(total) => {
                    total.averages(&self.totals, groups, &call.output).ok_or_else(overflow)?
                }
                Found::Least(argument) => self.values(*argument).least(groups)?,
                Found::Greatest(argument) => self.values(*argument).greatest(groups)?,
            };
            let is_typed = column.data_type() == &call.output;
            columns.push(if is_typed { column } else { cast(&column, &call.output)? });
        }
        Ok(columns)
    }

    fn values(&self, argument: usize) -> &Values {
        self.arguments[argument].values.as_ref().expect("a minimum's argument keeps its values")
    }

    pub(super) fn size(&self) -> StateSize {
        let values = self.arguments.iter().filter_map(|argument| argument.values.as_ref());
        let values = values.fold(StateSize::default(), |sum, values| sum + values.size());
        let bytes = self.totals.size().bytes + self.shown.size().bytes;
        self.keys.size() + values + StateSize { rows: 0, bytes }
    }
}

/// How often each row counts: its diff, or not at all when its value is NULL or its filter is not true.
fn weights(diffs: &[i64], column: Option<&ArrayRef>, filter: Option<&ArrayRef>) -> Vec<i64> {
    let mut weights = diffs.to_vec();
    if let Some(nulls) = column.and_then(|column| column.logical_nulls()) {
        for (weight, valid) in weights.iter_mut().zip(nulls.iter()) {
            *weight *= i64::from(valid);
        }
    }
    if let Some(filter) = filter {
        for (weight, counts) in weights.iter_mut().zip(&as_booleans(filter)) {
            *weight *= i64::from(counts == Some(true));
        }
    }
    weights
}

/// Lays out the words of a group, sharing what several calls need.
struct Builder<'a> {
    input: &'a SchemaRef,
    arguments: Vec<Argument>,
    width: usize,
}

impl Builder<'_> {
    fn add(&mut self, call: &AggregateCall) -> Result<Call, BuildError> {
        let argument = self.argument(call.argument, call.filter);
        let kind = || self.kind(call);
        let result = match call.function {
            AggregateFunction::Count => {
                Found::Count(self.total(argument, call, TotalKind::Count)?)
            }
            AggregateFunction::Sum => {
                let kind = kind()?;
                Found::Sum(self.total(argument, call, kind)?)
            }
            AggregateFunction::Avg => {
                let kind = kind()?;
                Found::Average(self.total(argument, call, kind)?)
            }
            AggregateFunction::Min => Found::Least(self.keep_values(argument, call)?),
            AggregateFunction::Max => Found::Greatest(self.keep_values(argument, call)?),
            AggregateFunction::BoolAnd
            | AggregateFunction::BoolOr
            | AggregateFunction::VariancePopulation
            | AggregateFunction::VarianceSample
            | AggregateFunction::DeviationPopulation
            | AggregateFunction::DeviationSample
            | AggregateFunction::StringAgg
            | AggregateFunction::ArrayAgg => {
                return Err(BuildError::Unsupported(format!("{:?}", call.function)));
            }
        };
        Ok(Call { output: call.output.clone(), result })
    }

    fn argument(&mut self, column: Option<usize>, filter: Option<usize>) -> usize {
        let known = |argument: &Argument| argument.column == column && argument.filter == filter;
        self.arguments.iter().position(known).unwrap_or_else(|| {
            let (totals, distinct_totals) = (Vec::new(), Vec::new());
            self.arguments.push(Argument { column, filter, totals, distinct_totals, values: None });
            self.arguments.len() - 1
        })
    }

    fn kind(&self, call: &AggregateCall) -> Result<TotalKind, BuildError> {
        let column = call.argument.map(|column| self.input.field(column).data_type());
        let kind = column.and_then(|input| TotalKind::of(call.function, input, &call.output));
        kind.ok_or_else(|| {
            let input = column.map_or("nothing".to_owned(), ToString::to_string);
            BuildError::Unsupported(format!("{:?} of {input} as {}", call.function, call.output))
        })
    }

    fn total(
        &mut self,
        argument: usize,
        call: &AggregateCall,
        kind: TotalKind,
    ) -> Result<Total, BuildError> {
        if call.distinct {
            self.keep_values(argument, call)?;
        }
        let argument = &mut self.arguments[argument];
        let totals =
            if call.distinct { &mut argument.distinct_totals } else { &mut argument.totals };
        if let Some(total) = totals.iter().find(|total| total.kind() == kind) {
            return Ok(*total);
        }
        let total = Total::new(kind, self.width);
        self.width += total.width();
        totals.push(total);
        Ok(total)
    }

    fn keep_values(&mut self, argument: usize, call: &AggregateCall) -> Result<usize, BuildError> {
        let column = call.argument.ok_or_else(|| {
            BuildError::Unsupported(format!("{:?} without an argument", call.function))
        })?;
        let values = &mut self.arguments[argument].values;
        if values.is_none() {
            *values = Some(Values::new(self.input.field(column).data_type())?);
        }
        Ok(argument)
    }
}
