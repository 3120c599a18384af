//! Aggregate: one row for each group, computed from sums that can be taken back.
//!
//! An aggregate function that is a function of sums over the rows is maintained by adding `diff * value` to the sums:
//! count, sum and avg need nothing else, and the rows are not kept. A minimum or a maximum is no sum; it needs the
//! multiset of the group's values, in order, and so do a list and a text. An aggregate over DISTINCT values is a sum
//! again, over the values whose count in that multiset is above zero: a value that appears adds its term once, one that
//! goes takes it back. A variance is a function of the sums of the values and of their squares.
//!
//! While changes come, only sums and multisets move. At the step's end each touched group is computed once and compared
//! with the row that was shown for it: −old +new, or nothing when they are equal. A group is there as long as it has
//! rows; without group columns there is always one group, also over no rows, and the first step shows it. A group with a
//! result that does not fit its type is not shown as long as that is so; faults say which.

mod extremes;
mod formula;
mod lists;
mod multisets;
mod parts;
mod total;
mod values;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use change::ChangeBatch;
use plan::ir::{AggregateCall, AggregateFunction};

pub(super) use self::formula::{Computed, Formula};
use self::lists::Lists;
pub(super) use self::lists::{lists, texts};
pub(crate) use self::parts::{Phase, part_schema};
pub(super) use self::total::{Term, Terms, Total, TotalKind};
use self::values::Values;
use super::{BuildError, EMIT_ROWS, Fault, Out};
use crate::arrangement::{Floats, Keys, Nulls, Shown, Slots, StateSize, TOUCHED_ROWS, Totals};
use crate::columns::{as_booleans, batch, changes as batch_of, nullable, pick, take_rows};
use crate::error::OperatorError;
use crate::faulty::rows_as_json;
use crate::state::State;

/// The word with how many rows a group has.
const ROWS: usize = 0;
/// The word that is 1 when a group was touched in this step.
const TOUCHED: usize = 1;
/// The first word of the totals.
const FIRST: usize = 2;

/// One row for each group.
pub(crate) struct Aggregate {
    phase: Phase,
    groups: Groups,
    schema: SchemaRef,
    arguments: Vec<Argument>,
    calls: Vec<Call>,
    totals: Totals,
    /// The results that each group was last shown with.
    shown: Shown,
    /// The calls that each group has faults for, as their numbers.
    faulty: Slots,
    touched: Vec<u32>,
    numbers: Vec<u32>,
}

/// How an aggregate works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AggregateOptions {
    /// Whether no row of the input ever goes.
    pub(crate) only_grows: bool,
    /// The groups, when the rows have their numbers already.
    pub(crate) numbered: Option<Numbered>,
    pub(crate) phase: Phase,
}

/// Groups that were numbered before they came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    /// The column with the number.
    pub(crate) column: usize,
    /// Whose number it is.
    pub(crate) space: usize,
    /// How many columns make the key.
    pub(crate) width: usize,
}

/// Where groups have their numbers from.
enum Groups {
    /// Keys of its own, made of columns.
    Own(Vec<usize>, Box<Keys>),
    Numbered(Numbered),
}

/// Values that calls read: a column, and the rows of it that count.
struct Argument {
    column: Option<usize>,
    filter: Option<usize>,
    totals: Vec<Total>,
    distinct_totals: Vec<Total>,
    values: Option<Values>,
    lists: Vec<Lists>,
}

/// How a call's result is found.
struct Call {
    output: DataType,
    result: Found,
}

/// Where a call's result lies.
enum Found {
    Computed(Formula, Vec<Total>),
    Least(usize),
    Greatest(usize),
    /// A list of an argument.
    List(usize, usize),
}

/// The results of groups.
struct Results {
    columns: Vec<ArrayRef>,
    /// For each group that has a result which does not fit, the numbers of those calls; else nothing.
    faults: Vec<Vec<u8>>,
}

impl Argument {
    /// The terms of its column that are summed.
    fn terms(&self, column: Option<&ArrayRef>) -> Result<Terms, ArrowError> {
        let is_summed = !(self.totals.is_empty() && self.distinct_totals.is_empty());
        let terms = column.filter(|_| is_summed).map(Terms::of).transpose()?;
        Ok(terms.unwrap_or(Terms::Nothing))
    }
}

impl Aggregate {
    pub(super) fn new(
        input: &SchemaRef,
        group: &[usize],
        calls: &[AggregateCall],
        schema: &SchemaRef,
        options: AggregateOptions,
    ) -> Result<Self, BuildError> {
        let AggregateOptions { only_grows, numbered, phase } = options;
        let groups = match numbered {
            Some(numbered) => Groups::Numbered(numbered),
            None => {
                let key = schema.fields()[..group.len()].iter();
                let types: Vec<DataType> = key.map(|field| field.data_type().clone()).collect();
                let keys = Keys::new(&types, Nulls::Equal, Floats::Folded)?;
                Groups::Own(group.to_vec(), Box::new(keys))
            }
        };
        let mut builder = Builder { input, arguments: Vec::new(), width: FIRST, only_grows };
        let found = calls.iter().map(|call| builder.add(call)).collect::<Result<Vec<_>, _>>()?;
        let Builder { arguments, width, .. } = builder;
        let outputs: Vec<DataType> = calls.iter().map(|call| call.output.clone()).collect();
        let schema = match phase {
            Phase::Single | Phase::Final => nullable(schema),
            Phase::Partial => {
                let width = numbered.map_or(group.len(), |numbered| numbered.width);
                let parts = part_schema(input, calls, &schema.fields()[..width])?;
                parts.ok_or_else(|| BuildError::Unsupported("parts of totals".to_owned()))?
            }
        };
        let mut aggregate = Self {
            phase,
            groups,
            schema,
            arguments,
            calls: found,
            totals: Totals::new(width),
            shown: Shown::new(&outputs)?,
            faulty: Slots::default(),
            touched: Vec::new(),
            numbers: Vec::new(),
        };
        if aggregate.is_global() && phase != Phase::Partial {
            aggregate.find_groups(&[], 1)?;
            aggregate.touch(&[0]);
        }
        Ok(aggregate)
    }

    /// Whether there is one group whatever the rows are.
    fn is_global(&self) -> bool {
        self.key_width() == 0
    }

    /// How many columns make a group's key.
    fn key_width(&self) -> usize {
        match &self.groups {
            Groups::Own(columns, _) => columns.len(),
            Groups::Numbered(numbered) => numbered.width,
        }
    }

    /// The columns of groups' keys.
    fn keys(&self, state: &State, groups: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        match &self.groups {
            Groups::Own(_, keys) => keys.columns(groups),
            Groups::Numbered(numbered) => state.spaces[numbered.space].keys().columns(groups),
        }
    }

    pub(super) fn push(&mut self, changes: &ChangeBatch) -> Result<(), OperatorError> {
        let columns = changes.rows().columns();
        if self.phase == Phase::Final {
            return self.add_parts(columns, changes.diffs());
        }
        self.find_groups(columns, changes.len())?;
        self.touch(changes.diffs());
        self.add_rows(columns, changes.diffs())
    }

    /// Adds rows to what their groups' results are computed from.
    fn add_rows(&mut self, columns: &[ArrayRef], diffs: &[i64]) -> Result<(), OperatorError> {
        for argument in &mut self.arguments {
            let column = argument.column.map(|column| &columns[column]);
            let filter = argument.filter.map(|filter| &columns[filter]);
            let counted = weights(diffs, column, filter);
            for list in &mut argument.lists {
                let all = if list.has_nulls() { None } else { column };
                let elements = weights(diffs, all, filter);
                list.add(&self.numbers, columns, &elements)?;
            }
            let terms = argument.terms(column)?;
            for total in &argument.totals {
                total.add(&mut self.totals, (&self.numbers, 0), &terms, &counted);
            }
            let (Some(values), Some(column)) = (&mut argument.values, column) else {
                continue;
            };
            let tells = !argument.distinct_totals.is_empty();
            let appeared = values.add(&self.numbers, column, (&counted, tells))?;
            for total in &argument.distinct_totals {
                total.add(&mut self.totals, (&self.numbers, 0), &terms, &appeared);
            }
        }
        Ok(())
    }

    /// Finds the rows' groups.
    fn find_groups(&mut self, columns: &[ArrayRef], rows: usize) -> Result<(), ArrowError> {
        let upper = match &mut self.groups {
            Groups::Own(group, keys) => {
                keys.resolve(&pick(columns, group), rows, &mut self.numbers)?;
                keys.upper()
            }
            Groups::Numbered(numbered) => {
                self.numbers.clear();
                let column = columns[numbered.column].as_primitive::<UInt32Type>();
                self.numbers.extend_from_slice(column.values());
                self.numbers.iter().max().map_or(0, |&group| group as usize + 1)
            }
        };
        self.totals.reserve(upper);
        Ok(())
    }

    /// Counts the rows of their groups, and notes that the groups were touched.
    fn touch(&mut self, diffs: &[i64]) {
        for (groups, diffs) in self.numbers.chunks(TOUCHED_ROWS).zip(diffs.chunks(TOUCHED_ROWS)) {
            self.totals.touch(groups);
            for (&group, &diff) in groups.iter().zip(diffs) {
                let words = self.totals.get_mut(group);
                words[ROWS] = words[ROWS].wrapping_add_signed(diff);
                if words[TOUCHED] == 0 {
                    words[TOUCHED] = 1;
                    self.touched.push(group);
                }
            }
        }
    }

    pub(super) fn finish(&mut self, state: &State, out: &mut Out) -> Result<(), OperatorError> {
        if self.phase == Phase::Partial {
            return self.give_parts(state, out);
        }
        let touched = std::mem::take(&mut self.touched);
        for groups in touched.chunks(EMIT_ROWS) {
            let (live, dead): (Vec<u32>, Vec<u32>) =
                groups.iter().copied().partition(|&group| self.is_live(group));
            let Results { columns, faults } = self.results(&live)?;
            self.shown.read(&columns, live.len())?;
            self.emit_faults(state, (&dead, &[]), out)?;
            self.emit_faults(state, (&live, &faults), out)?;
            let mut gone = dead;
            gone.retain(|&group| self.shown.is_there(group));
            let mut come = Vec::new();
            for (at, &group) in live.iter().enumerate() {
                let is_faulty = !faults[at].is_empty();
                if is_faulty || !self.shown.is_same(group, at) {
                    gone.extend(self.shown.is_there(group).then_some(group));
                    come.extend((!is_faulty).then(|| crate::arrangement::number(at)));
                }
            }
            self.emit_gone(state, &gone, out)?;
            self.emit_come(state, (&live, &columns), come.clone().into(), out)?;
            for group in gone {
                self.shown.remove(group);
            }
            for at in come {
                self.shown.set(live[at as usize], at as usize);
            }
            self.release(groups);
        }
        self.shown.sweep();
        Ok(())
    }

    fn is_live(&self, group: u32) -> bool {
        self.is_global() || self.totals.get(group)[ROWS].cast_signed() > 0
    }

    fn emit_gone(&self, state: &State, gone: &[u32], out: &mut Out) -> Result<(), OperatorError> {
        if gone.is_empty() {
            return Ok(());
        }
        let mut columns = self.keys(state, gone)?;
        columns.extend(self.shown.columns(gone)?);
        out.rows(batch_of(&self.schema, columns, vec![-1; gone.len()])?);
        Ok(())
    }

    fn emit_come(
        &self,
        state: &State,
        (live, results): (&[u32], &[ArrayRef]),
        come: UInt32Array,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        if come.is_empty() {
            return Ok(());
        }
        let groups: Vec<u32> = come.values().iter().map(|&at| live[at as usize]).collect();
        let mut columns = self.keys(state, &groups)?;
        columns.extend(take_rows(results, &come)?);
        out.rows(batch_of(&self.schema, columns, vec![1; come.len()])?);
        Ok(())
    }

    /// Emits the difference between the faults that groups have and those that they had.
    fn emit_faults(
        &mut self,
        state: &State,
        (groups, faults): (&[u32], &[Vec<u8>]),
        out: &mut Out,
    ) -> Result<(), ArrowError> {
        if self.faulty.size().rows == 0 && faults.iter().all(Vec::is_empty) {
            return Ok(());
        }
        for (at, &group) in groups.iter().enumerate() {
            let new: &[u8] = faults.get(at).map_or(&[], |faults| faults);
            let old: &[u8] = self.faulty.get(group).unwrap_or(&[]);
            if new == old {
                continue;
            }
            let width = self.key_width();
            let fields = &self.schema.fields()[..width];
            let schema = Arc::new(Schema::new(fields.to_vec()));
            let key = batch(&schema, self.keys(state, &[group])?, 1)?;
            let row = rows_as_json(&key)?.pop().unwrap_or_default();
            let fault = |call: usize, diff: i64| Fault {
                expression: self.schema.field(width + call).name().clone(),
                row: row.clone(),
                message: format!("the value does not fit {}", self.calls[call].output),
                diff,
            };
            let calls = |faults: &[u8]| -> Vec<[u8; 2]> {
                faults.chunks_exact(2).map(|call| [call[0], call[1]]).collect()
            };
            let only = |these: &[u8], others: &[u8]| -> Vec<usize> {
                let others = calls(others);
                let these = calls(these).into_iter().filter(|call| !others.contains(call));
                these.map(|call| usize::from(u16::from_be_bytes(call))).collect()
            };
            out.faults.extend(only(old, new).into_iter().map(|call| fault(call, -1)));
            out.faults.extend(only(new, old).into_iter().map(|call| fault(call, 1)));
            match new {
                [] => self.faulty.remove(group),
                new => self.faulty.set(group, new),
            }
        }
        Ok(())
    }

    /// Ends the step for groups: forgets those without rows.
    fn release(&mut self, groups: &[u32]) {
        let is_global = self.is_global();
        for &group in groups {
            let words = self.totals.get_mut(group);
            words[TOUCHED] = 0;
            if words[ROWS] == 0 && !is_global {
                self.totals.clear(group);
                let kept =
                    self.arguments.iter_mut().filter_map(|argument| argument.values.as_mut());
                kept.for_each(|values| values.forget(group));
                if let Groups::Own(_, keys) = &mut self.groups {
                    keys.release(group);
                }
            }
        }
    }

    /// Computes the calls' results, one row for each group.
    fn results(&self, groups: &[u32]) -> Result<Results, OperatorError> {
        let mut columns = Vec::with_capacity(self.calls.len());
        let mut faults = vec![Vec::new(); groups.len()];
        for (number, call) in (0_u16..).zip(&self.calls) {
            let Computed { column, overflows } = match &call.result {
                Found::Computed(formula, totals) => {
                    formula.compute((totals, &self.totals), groups, &call.output)
                }
                Found::Least(argument) => Computed::all(self.values(*argument).least(groups)?),
                Found::Greatest(argument) => {
                    Computed::all(self.values(*argument).greatest(groups)?)
                }
                Found::List(argument, list) => {
                    self.arguments[*argument].lists[*list].results(groups, &call.output)?
                }
            };
            for at in overflows {
                faults[at as usize].extend(number.to_be_bytes());
            }
            let is_typed = column.data_type() == &call.output;
            columns.push(if is_typed { column } else { cast(&column, &call.output)? });
        }
        Ok(Results { columns, faults })
    }

    fn values(&self, argument: usize) -> &Values {
        self.arguments[argument].values.as_ref().expect("a minimum's argument keeps its values")
    }

    pub(super) fn size(&self) -> StateSize {
        let values = self.arguments.iter().filter_map(|argument| argument.values.as_ref());
        let values = values.fold(StateSize::default(), |sum, values| sum + values.size());
        let lists = self.arguments.iter().flat_map(|argument| &argument.lists);
        let values = lists.fold(values, |sum, list| sum + list.size());
        let bytes = self.totals.size().bytes + self.shown.size().bytes + self.faulty.size().bytes;
        let groups = match &self.groups {
            Groups::Own(_, keys) => keys.size(),
            Groups::Numbered(_) => StateSize { rows: self.shown.size().rows, bytes: 0 },
        };
        groups + values + StateSize { rows: 0, bytes }
    }
}

/// How often each row counts: its diff, or not at all when its value is NULL or its filter is not true.
fn weights<'a>(
    diffs: &'a [i64],
    column: Option<&ArrayRef>,
    filter: Option<&ArrayRef>,
) -> Cow<'a, [i64]> {
    let nulls = column.and_then(|column| column.logical_nulls());
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    if nulls.is_none() && filter.is_none() {
        return Cow::Borrowed(diffs);
    }
    let mut weights = diffs.to_vec();
    if let Some(nulls) = nulls {
        for (weight, valid) in weights.iter_mut().zip(nulls.iter()) {
            *weight *= i64::from(valid);
        }
    }
    if let Some(filter) = filter {
        for (weight, counts) in weights.iter_mut().zip(&as_booleans(filter)) {
            *weight *= i64::from(counts == Some(true));
        }
    }
    Cow::Owned(weights)
}

/// Lays out the words of a group, sharing what several calls need.
struct Builder<'a> {
    input: &'a SchemaRef,
    /// Whether no row ever goes.
    only_grows: bool,
    arguments: Vec<Argument>,
    width: usize,
}

impl Builder<'_> {
    fn add(&mut self, call: &AggregateCall) -> Result<Call, BuildError> {
        let argument = self.argument(call.argument, call.filter);
        let result = match (call.function, Formula::of(call.function)) {
            (_, Some(formula)) => {
                let kinds = self.kinds(call, formula)?.into_iter();
                let totals = kinds.map(|kind| self.total(argument, call, kind));
                Found::Computed(formula, totals.collect::<Result<_, _>>()?)
            }
            (AggregateFunction::Min, None) => Found::Least(self.keep_values(argument, call)?),
            (AggregateFunction::Max, None) => Found::Greatest(self.keep_values(argument, call)?),
            (_, None) => {
                let lists = Lists::new(self.input, argument_of(call)?, call)?;
                let all = &mut self.arguments[argument].lists;
                all.push(lists);
                Found::List(argument, all.len() - 1)
            }
        };
        Ok(Call { output: call.output.clone(), result })
    }

    fn argument(&mut self, column: Option<usize>, filter: Option<usize>) -> usize {
        let known = |argument: &Argument| argument.column == column && argument.filter == filter;
        self.arguments.iter().position(known).unwrap_or_else(|| {
            let (totals, distinct_totals) = (Vec::new(), Vec::new());
            let (values, lists) = (None, Vec::new());
            self.arguments.push(Argument {
                column,
                filter,
                totals,
                distinct_totals,
                values,
                lists,
            });
            self.arguments.len() - 1
        })
    }

    fn kinds(&self, call: &AggregateCall, formula: Formula) -> Result<Vec<TotalKind>, BuildError> {
        let column = call.argument.map(|column| self.input.field(column).data_type());
        formula.kinds(column, &call.output).ok_or_else(|| {
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
            // Who counts distinct values must know when one appears.
            self.only_grows = false;
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
        let column = argument_of(call)?;
        let values = &mut self.arguments[argument].values;
        if values.is_none() {
            *values = Some(Values::new(self.input.field(column).data_type(), self.only_grows)?);
        }
        Ok(argument)
    }
}

fn argument_of(call: &AggregateCall) -> Result<usize, BuildError> {
    call.argument
        .ok_or_else(|| BuildError::Unsupported(format!("{:?} without an argument", call.function)))
}
