//! How joins are built: what each side keeps, by which key, and which joins share it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use plan::ir::{JoinKind, Node};

use super::aggregate::side_of;
use super::bounds::{Bounds, bounds};
use super::{
    Builder, Built, Columns, JoinSpec, Physical, SideSpec, Spec, Wanted, columns_of, compact,
    is_unique, moved, only_grows, selected,
};
use crate::DataflowOptions;
use crate::arrangement::{Nulls, RowsOptions};
use crate::columns::nullable;
use crate::operator::BuildError;
use crate::operator::band::{Ends, Strictness};
use crate::operator::join::{Condition, Input, Join, JoinOptions, PairColumn, Side, shows_alone};
use crate::operator::numbering::numbered as with_number;

impl Builder<'_> {
    pub(super) fn join(
        &mut self,
        node: &Node,
        needed: &Columns,
        numbered: Option<&[usize]>,
    ) -> Result<Built, BuildError> {
        let Node::Join { left, right, kind, on, filter, .. } = node else {
            unreachable!("the caller has a join");
        };
        let width = left.schema().fields().len();
        let mut read = needed.clone();
        read.extend(filter.iter().flat_map(columns_of));
        let (mut of_left, mut of_right) = (Columns::new(), Columns::new());
        for column in read {
            if column < width {
                of_left.insert(column)
            } else {
                of_right.insert(column - width)
            };
        }
        let kept = (of_left.clone(), of_right.clone());
        of_left.extend(on.iter().map(|(column, _)| column));
        of_right.extend(on.iter().map(|(_, column)| column));
        let side = numbered.and_then(|columns| side_of(node, columns));
        let of_side = |input: Input, from: usize| -> Option<Vec<usize>> {
            let columns = numbered.filter(|_| side == Some(input))?.iter();
            Some(columns.map(|&column| column - from).collect())
        };
        let (lefts, rights): (Vec<usize>, Vec<usize>) = on.iter().copied().unzip();
        let left_built = self.side(left, &of_left, (&lefts, of_side(Input::Left, 0)))?;
        let right_built = self.side(right, &of_right, (&rights, of_side(Input::Right, width)))?;
        let pair = |column: usize| match column.checked_sub(width) {
            None => PairColumn::Left(left_built.columns[column]),
            Some(column) => PairColumn::Right(right_built.columns[column]),
        };
        let pairs = pair_schema(left, right);
        let found = filter.as_ref().and_then(|filter| bounds(filter, &pairs, width));
        let built = [&left_built, &right_built];
        let sides = self.sides(node, built, [&kept.0, &kept.1], found.as_ref())?;
        let all = match found {
            Some(found) => found.conditions,
            None => filter.iter().map(Arc::clone).collect(),
        };
        let condition = |condition: &Physical| {
            let read: Vec<usize> = columns_of(condition).into_iter().collect();
            let mut places = vec![usize::MAX; pairs.fields().len()];
            read.iter().enumerate().for_each(|(at, &column)| places[column] = at);
            (moved(condition, &places), read.into_iter().map(pair).collect())
        };
        let conditions = all.iter().map(condition).collect();
        let shown: Vec<usize> = needed.iter().copied().collect();
        let mut output: Vec<PairColumn> = shown.iter().map(|&column| pair(column)).collect();
        let mut schema = selected(&node.schema(), &shown);
        let left_number =
            left_built.number.map(|(column, space)| (PairColumn::Left(column), space));
        let right_number =
            right_built.number.map(|(column, space)| (PairColumn::Right(column), space));
        let number = left_number.or(right_number).map(|(column, space)| {
            output.push(column);
            schema = with_number(&schema);
            (shown.len(), space)
        });
        let [left, right] = sides;
        let spec = JoinSpec { kind: *kind, left, right, conditions, output };
        let stage = self.add(Spec::Join(Box::new(spec)), schema);
        Ok(Built { stage, columns: compact(&shown, node), number })
    }

    /// An input of a join, each row at the worker that its key belongs to. Numbers are known to one worker only, so
    /// with several of them they are given when the rows are there.
    pub(super) fn side(
        &mut self,
        node: &Node,
        needed: &Columns,
        (key, numbered): (&[usize], Option<Vec<usize>>),
    ) -> Result<Built, BuildError> {
        let numbered = numbered.as_deref();
        let (early, late) = match self.options.workers <= 1 {
            true => (numbered, None),
            false => (None, numbered),
        };
        let needed = needed.iter().chain(late.unwrap_or_default()).copied().collect();
        let mut built = self.node(node, &needed, early)?;
        let key: Vec<usize> = key.iter().map(|&column| built.columns[column]).collect();
        built.stage = self.together(built.stage, &key, true);
        match late {
            Some(columns) => self.number(built, columns),
            None => Ok(built),
        }
    }

    /// The sides of a join of built inputs, of which the kept columns are read above.
    fn sides(
        &mut self,
        node: &Node,
        built: [&Built; 2],
        kept: [&Columns; 2],
        bounds: Option<&Bounds>,
    ) -> Result<[SideSpec; 2], BuildError> {
        let Node::Join { left, right, kind, on, nulls_equal, filter, .. } = node else {
            unreachable!("the caller has a join");
        };
        let types = key_types(left, right, on)?;
        let nulls = if *nulls_equal { Nulls::Equal } else { Nulls::Nothing };
        let sides = [
            (Input::Left, built[0], kept[0], &**left),
            (Input::Right, built[1], kept[1], &**right),
        ];
        let mut space = None;
        let mut specs: Vec<SideSpec> = Vec::with_capacity(2);
        for (input, built, kept, from) in sides {
            let (mine, theirs): (Vec<usize>, Vec<usize>) = match input {
                Input::Left => on.iter().copied().unzip(),
                Input::Right => on.iter().map(|&(left, right)| (right, left)).unzip(),
            };
            let other = if input == Input::Left { &**right } else { &**left };
            let is_unique = is_unique(from, &mine);
            let has_matches = filter.is_some() && shows_alone(*kind, input);
            // Of two sides that could be, one is enough.
            let is_elided = *kind == JoinKind::Inner
                && specs.iter().all(|first| !first.is_elided)
                && meets_one_for_ever(from, other, &theirs, self.options);
            let key: Vec<usize> = mine.iter().map(|&column| built.columns[column]).collect();
            let payload = self.payload(built, kept, if has_matches { &[] } else { &key });
            let band = bounds.map(|bounds| self.band(bounds, input, (built, left)));
            let wanted = Wanted {
                input: built.stage,
                key,
                space: space.unwrap_or(usize::MAX),
                nulls,
                options: RowsOptions { unique: is_unique, has_matches },
                is_private: has_matches || is_elided,
                payload,
                bands: Vec::new(),
            };
            let taken = specs.first().map(|first| first.wanted);
            let (wanted, is_private) = self.want(wanted, &types, taken);
            space = Some(self.wanted[wanted].space);
            let band = band.map(|(ends, strictness)| (self.want_band(wanted, ends), strictness));
            specs.push(SideSpec { input: built.stage, wanted, is_private, is_elided, band });
        }
        Ok(specs.try_into().unwrap_or_else(|_| unreachable!("a join has two sides")))
    }

    /// The ends of the intervals of an input's rows, as expressions over the columns of its stage.
    fn band(
        &self,
        bounds: &Bounds,
        input: Input,
        (built, left): (&Built, &Node),
    ) -> (Ends, Strictness) {
        let width = left.schema().fields().len();
        let ((low, high), first, strictness) = match input {
            Input::Left => (&bounds.left, 0, bounds.strictness[0]),
            Input::Right => (&bounds.right, width, bounds.strictness[1]),
        };
        let read: Columns = low.iter().chain(high).flat_map(columns_of).collect();
        let columns: Vec<usize> =
            read.iter().map(|&column| built.columns[column - first]).collect();
        let mut places = vec![usize::MAX; read.last().map_or(0, |last| last + 1)];
        read.iter().enumerate().for_each(|(at, &column)| places[column] = at);
        let end = |end: &Option<Physical>| end.as_ref().map(|end| moved(end, &places));
        let schema = selected(&self.schemas[built.stage], &columns);
        (Ends { columns, schema, low: end(low), high: end(high) }, strictness)
    }

    /// Finds the intervals among those that an arrangement knows, or wants them of it.
    fn want_band(&mut self, wanted: usize, ends: Ends) -> usize {
        let bands = &mut self.wanted[wanted].bands;
        bands.iter().position(|known| *known == ends).unwrap_or_else(|| {
            bands.push(ends);
            bands.len() - 1
        })
    }

    /// The columns of a stage that an arrangement keeps: those that are read, but for parts of the key that the other
    /// side knows as well (none of them when rows are shown without the other side). Floats that are equal may differ,
    /// so they are kept.
    fn payload(&self, built: &Built, kept: &Columns, key: &[usize]) -> Columns {
        let schema = &self.schemas[built.stage];
        let columns = kept.iter().map(|&column| built.columns[column]);
        let number = built.number.map(|(column, _)| column);
        columns
            .filter(|column| !key.contains(column) || has_floats(schema.field(*column).data_type()))
            .chain(number)
            .collect()
    }

    /// Finds an arrangement that serves, or wants a new one. `taken` is the other side's.
    pub(super) fn want(
        &mut self,
        mut wanted: Wanted,
        types: &[DataType],
        taken: Option<usize>,
    ) -> (usize, bool) {
        let serves = |other: &Wanted| {
            !other.is_private
                && !wanted.is_private
                && other.input == wanted.input
                && other.key == wanted.key
                && other.nulls == wanted.nulls
                && (wanted.space == usize::MAX || other.space == wanted.space)
        };
        let mut known = self.wanted.iter().enumerate();
        let found = known.find(|(at, other)| Some(*at) != taken && serves(other));
        if let Some((found, _)) = found {
            self.wanted[found].payload.append(&mut wanted.payload);
            self.asked.push(self.arranging(found));
            return (found, false);
        }
        if wanted.space == usize::MAX {
            wanted.space = self.spaces.len();
            self.spaces.push((types.to_vec(), wanted.nulls));
        }
        let is_private = wanted.is_private;
        let (input, at) = (wanted.input, self.wanted.len());
        self.wanted.push(wanted);
        if !is_private {
            let schema = Arc::clone(&self.schemas[input]);
            self.add(Spec::Arrange { input, wanted: at }, schema);
        }
        (at, is_private)
    }

    /// The stage that a side's changes come from.
    pub(super) fn feeder(&self, side: &SideSpec) -> usize {
        if side.is_private { side.input } else { self.arranging(side.wanted) }
    }

    /// The stage that keeps a shared arrangement.
    pub(super) fn arranging(&self, wanted: usize) -> usize {
        let is_it = |spec: &Spec| matches!(spec, Spec::Arrange { wanted: of, .. } if *of == wanted);
        self.specs.iter().position(is_it).expect("a shared arrangement has a stage")
    }

    pub(super) fn make_join(&self, spec: &JoinSpec, schema: &SchemaRef) -> Join {
        let types = |input: usize| {
            self.schemas[input].fields().iter().map(|field| field.data_type().clone()).collect()
        };
        let side = |side: &SideSpec| Side {
            arrangement: side.wanted,
            is_private: side.is_private,
            is_elided: side.is_elided,
            band: side.band,
            types: types(side.input),
        };
        let condition = |(predicate, columns): &(Physical, Vec<PairColumn>)| {
            let field = |column: &PairColumn| match *column {
                PairColumn::Left(column) => self.schemas[spec.left.input].field(column).clone(),
                PairColumn::Right(column) => self.schemas[spec.right.input].field(column).clone(),
            };
            let fields: Vec<_> = columns.iter().map(field).collect();
            let schema = nullable(&Arc::new(Schema::new(fields)));
            Condition { predicate: Arc::clone(predicate), schema, columns: columns.clone() }
        };
        Join::new(JoinOptions {
            kind: spec.kind,
            left: side(&spec.left),
            right: side(&spec.right),
            conditions: spec.conditions.iter().map(condition).collect(),
            output: spec.output.clone(),
            schema: Arc::clone(schema),
        })
    }
}

/// The columns of pairs of rows.
fn pair_schema(left: &Node, right: &Node) -> SchemaRef {
    let (left, right) = (left.schema(), right.schema());
    Arc::new(Schema::new(left.fields().iter().chain(right.fields()).cloned().collect::<Vec<_>>()))
}

pub(super) fn key_types(
    left: &Node,
    right: &Node,
    on: &[(usize, usize)],
) -> Result<Vec<DataType>, BuildError> {
    let (left, right) = (left.schema(), right.schema());
    let mut types = Vec::with_capacity(on.len());
    for &(mine, theirs) in on {
        let (data_type, other) = (left.field(mine).data_type(), right.field(theirs).data_type());
        if data_type != other {
            return Err(BuildError::Unsupported(format!(
                "a join of {data_type} with {other} without a cast"
            )));
        }
        types.push(data_type.clone());
    }
    Ok(types)
}

fn has_floats(data_type: &DataType) -> bool {
    data_type.is_floating() || data_type.is_nested()
}

/// Whether a row of a node meets one row of the other at most, and neither ever loses a row.
pub(super) fn meets_one_for_ever(
    node: &Node,
    other: &Node,
    key: &[usize],
    options: &DataflowOptions,
) -> bool {
    !key.is_empty()
        && is_unique(other, key)
        && only_grows(node, options)
        && only_grows(other, options)
}
