//! The calls of a window, with their frames, as the operator computes them.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use plan::ir::{self, AggregateFunction, FrameBound, FrameUnits, OrderKey, WindowFunction};

use super::super::BuildError;
use super::super::aggregate::{Formula, Total, TotalKind};
use super::fold::Folds;
use super::range::Shift;

/// A call.
pub(super) struct Call {
    pub(super) name: String,
    pub(super) output: DataType,
    pub(super) kind: Kind,
    /// The number of its frame.
    pub(super) frame: usize,
}

/// What is computed.
pub(super) enum Kind {
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile(u64),
    Lag {
        argument: usize,
        offset: i64,
        /// One value.
        default: ArrayRef,
        /// Counts the rows that are not passed over, when some are.
        counted: Option<Total>,
    },
    Pick {
        argument: usize,
        which: Which,
        counted: Option<Total>,
    },
    Fold {
        formula: Formula,
        totals: Vec<Total>,
    },
    Extreme(usize),
    List {
        argument: usize,
        /// Which rows count.
        input: usize,
        /// What stands between the texts; `None` for a list.
        separator: Option<String>,
    },
}

/// Which row of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    First,
    Last,
    Nth(u64),
}

/// The rows that a call looks at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    pub(super) start: Bound,
    pub(super) end: Bound,
}

/// A bound of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bound {
    /// The partition's.
    Unbounded,
    /// So many rows behind the row.
    Rows(i64),
    /// So many groups behind the row's peers.
    Groups(i64),
    /// The number of a shift of the order key.
    Value(usize),
}

/// Calls that share frames and folded rows.
pub(super) struct Calls {
    pub(super) calls: Vec<Call>,
    pub(super) frames: Vec<Frame>,
    pub(super) shifts: Vec<Shift>,
    pub(super) folds: Folds,
}

impl Calls {
    pub(super) fn new(
        input: &SchemaRef,
        order: &[OrderKey],
        calls: &[ir::WindowCall],
        schema: &SchemaRef,
    ) -> Result<Self, BuildError> {
        let (found, frames) = (Vec::new(), Vec::new());
        let mut all = Self { calls: found, frames, shifts: Vec::new(), folds: Folds::new() };
        let first = input.fields().len();
        for (at, call) in calls.iter().enumerate() {
            let kind = all.kind(input, call)?;
            let frame = all.frame(input, order, call)?;
            let name = schema.field(first + at).name().clone();
            all.calls.push(Call { name, output: call.output.clone(), kind, frame });
        }
        Ok(all)
    }

    fn kind(&mut self, input: &SchemaRef, call: &ir::WindowCall) -> Result<Kind, BuildError> {
        let mut counted = |argument: usize, ignore_nulls: bool| {
            ignore_nulls.then(|| {
                let input = self.folds.input(input, Some(argument), None, false);
                self.folds.total(input, TotalKind::Count)
            })
        };
        let mut pick = |argument: usize, ignore_nulls: bool, which: Which| Kind::Pick {
            argument,
            which,
            counted: counted(argument, ignore_nulls),
        };
        Ok(match &call.function {
            WindowFunction::RowNumber => Kind::RowNumber,
            WindowFunction::Rank => Kind::Rank,
            WindowFunction::DenseRank => Kind::DenseRank,
            WindowFunction::PercentRank => Kind::PercentRank,
            WindowFunction::CumeDist => Kind::CumeDist,
            WindowFunction::Ntile(buckets) => Kind::Ntile(*buckets),
            WindowFunction::Lag { argument, offset, default, ignore_nulls } => {
                let default = default_value(default, input.field(*argument).data_type())?;
                let counted = counted(*argument, *ignore_nulls);
                Kind::Lag { argument: *argument, offset: *offset, default, counted }
            }
            WindowFunction::FirstValue { argument, ignore_nulls } => {
                pick(*argument, *ignore_nulls, Which::First)
            }
            WindowFunction::LastValue { argument, ignore_nulls } => {
                pick(*argument, *ignore_nulls, Which::Last)
            }
            WindowFunction::NthValue { argument, n, ignore_nulls } => {
                pick(*argument, *ignore_nulls, Which::Nth(*n))
            }
            WindowFunction::Aggregate { function, argument, separator } => {
                self.aggregate(input, call, (*function, *argument, separator.as_ref()))?
            }
        })
    }

    fn aggregate(
        &mut self,
        schema: &SchemaRef,
        call: &ir::WindowCall,
        (function, argument, separator): (AggregateFunction, Option<usize>, Option<&String>),
    ) -> Result<Kind, BuildError> {
        let data_type = argument.map(|column| schema.field(column).data_type());
        let unsupported = || {
            let of = data_type.map_or("nothing".to_owned(), ToString::to_string);
            BuildError::Unsupported(format!(
                "{function:?} of {of} as {} over a window",
                call.output
            ))
        };
        let is_list = function == AggregateFunction::ArrayAgg;
        let input = self.folds.input(schema, argument, call.filter, is_list);
        if let Some(formula) = Formula::of(function) {
            let kinds = formula.kinds(data_type, &call.output).ok_or_else(unsupported)?;
            let totals = kinds.into_iter().map(|kind| self.folds.total(input, kind)).collect();
            return Ok(Kind::Fold { formula, totals });
        }
        let (Some(argument), Some(data_type)) = (argument, data_type) else {
            return Err(unsupported());
        };
        match function {
            AggregateFunction::Min | AggregateFunction::Max => {
                let is_greatest = function == AggregateFunction::Max;
                Ok(Kind::Extreme(self.folds.extreme(data_type, input, is_greatest)?))
            }
            AggregateFunction::ArrayAgg => Ok(Kind::List { argument, input, separator: None }),
            AggregateFunction::StringAgg => {
                let separator = Some(separator.cloned().unwrap_or_default());
                Ok(Kind::List { argument, input, separator })
            }
            AggregateFunction::Count
            | AggregateFunction::Sum
            | AggregateFunction::Avg
            | AggregateFunction::BoolAnd
            | AggregateFunction::BoolOr
            | AggregateFunction::VariancePopulation
            | AggregateFunction::VarianceSample
            | AggregateFunction::DeviationPopulation
            | AggregateFunction::DeviationSample => Err(unsupported()),
        }
    }

    /// Finds a call's frame among those of other calls, or adds it.
    fn frame(
        &mut self,
        input: &SchemaRef,
        order: &[OrderKey],
        call: &ir::WindowCall,
    ) -> Result<usize, BuildError> {
        let whole = Frame { start: Bound::Unbounded, end: Bound::Unbounded };
        let frame = match call.function {
            WindowFunction::FirstValue { .. }
            | WindowFunction::LastValue { .. }
            | WindowFunction::NthValue { .. }
            | WindowFunction::Aggregate { .. } => Frame {
                start: self.bound(input, order, (call.frame.units, &call.frame.start))?,
                end: self.bound(input, order, (call.frame.units, &call.frame.end))?,
            },
            WindowFunction::RowNumber
            | WindowFunction::Rank
            | WindowFunction::DenseRank
            | WindowFunction::PercentRank
            | WindowFunction::CumeDist
            | WindowFunction::Ntile(_)
            | WindowFunction::Lag { .. } => whole,
        };
        let known = self.frames.iter().position(|other| other == &frame);
        Ok(known.unwrap_or_else(|| {
            self.frames.push(frame);
            self.frames.len() - 1
        }))
    }

    fn bound(
        &mut self,
        input: &SchemaRef,
        order: &[OrderKey],
        (units, bound): (FrameUnits, &FrameBound),
    ) -> Result<Bound, BuildError> {
        let (offset, is_forward) = match (bound, units) {
            (FrameBound::UnboundedPreceding | FrameBound::UnboundedFollowing, _) => {
                return Ok(Bound::Unbounded);
            }
            (FrameBound::CurrentRow, FrameUnits::Rows) => return Ok(Bound::Rows(0)),
            (FrameBound::CurrentRow, FrameUnits::Range | FrameUnits::Groups) => {
                return Ok(Bound::Groups(0));
            }
            (FrameBound::Preceding(offset), _) => (offset, false),
            (FrameBound::Following(offset), _) => (offset, true),
        };
        if units == FrameUnits::Range {
            let [key] = order else {
                let what = "a RANGE frame with an offset over other than one order key";
                return Err(BuildError::Unsupported(what.to_owned()));
            };
            let data_type = input.field(key.column).data_type();
            let shift = Shift::new(offset, is_forward, key.options);
            shift.check(data_type).map_err(|_error| {
                let by = offset.data_type();
                BuildError::Unsupported(format!("a RANGE frame with {by} over {data_type}"))
            })?;
            self.shifts.push(shift);
            return Ok(Bound::Value(self.shifts.len() - 1));
        }
        let count = match offset.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(count))) if count >= 0 => count,
            // More rows than there can be.
            Ok(_) | Err(_) => i64::MAX,
        };
        let count = if is_forward { count } else { -count };
        Ok(if units == FrameUnits::Rows { Bound::Rows(count) } else { Bound::Groups(count) })
    }

    /// Whether groups of peers must be counted.
    pub(super) fn count_groups(&self) -> bool {
        let counts = |bound: &Bound| matches!(bound, Bound::Groups(away) if *away != 0);
        self.calls.iter().any(|call| matches!(call.kind, Kind::DenseRank))
            || self.frames.iter().any(|frame| counts(&frame.start) || counts(&frame.end))
    }

    /// Whether equal rows may have different results.
    pub(super) fn tell_copies_apart(&self) -> bool {
        let is_rows = |bound: &Bound| matches!(bound, Bound::Rows(_));
        let by_place =
            |call: &Call| matches!(call.kind, Kind::RowNumber | Kind::Ntile(_) | Kind::Lag { .. });
        self.calls.iter().any(by_place)
            || self.frames.iter().any(|frame| is_rows(&frame.start) || is_rows(&frame.end))
    }
}

fn default_value(value: &ScalarValue, data_type: &DataType) -> Result<ArrayRef, BuildError> {
    let value = value.cast_to(data_type).and_then(|value| value.to_array());
    value.map_err(|error| BuildError::Unsupported(format!("this default of lag: {error}")))
}
