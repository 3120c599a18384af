//! Views become stages: equal parts of plans once, and only columns that somebody reads.
//!
//! A plan is a tree; all plans together become one graph. A stage that computes what another one computes already is
//! that other one, whichever view asked first. A node is built with the columns that its reader needs and says where
//! they are among the columns of its stage, so a projection that only chooses columns is no stage at all, and a join
//! arranges no column that nobody reads. Joins that arrange the same stage by the same key share the arrangement, and
//! it keeps the columns that any of them needs.

mod aggregate;
mod bounds;
mod placement;
mod same;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use change::{ChangeForm, TableName};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use plan::ir::{JoinKind, Node, ViewPlan};

use crate::DataflowOptions;
use crate::arrangement::{Bands, Nulls, Rows, RowsOptions, Space};
use crate::columns::nullable;
use crate::error::FlowError;
use crate::exchange::Peer;
use crate::graph::{Graph, Reader, Stage, Work};
use crate::operator::band::{Band, Ends, Strictness};
use crate::operator::filter::Filter;
use crate::operator::join::{Condition, Input, Join, JoinOptions, PairColumn, Side, shows_alone};
use crate::operator::numbering::{Numbering, numbered as with_number};
use crate::operator::project::Project;
use crate::operator::{AggregateOptions, BuildError, Operator};
use crate::stat::PlanNode;
use crate::state::Arrangement;
use crate::timer::Timer;

use self::aggregate::{Wish, plain, side_of};
use self::bounds::{Bounds, bounds};
use self::placement::Placement;
use self::same::is_same;

type Physical = Arc<dyn PhysicalExpr>;
type Columns = BTreeSet<usize>;

/// A table's place among the inputs, and the columns of it that are read.
pub(crate) type TablePlace<'a> = dyn Fn(&TableName) -> (usize, &'a [usize], &'a SchemaRef) + 'a;

/// What a stage computes, its inputs being stages.
#[derive(Clone)]
enum Spec {
    Table {
        table: usize,
        /// The columns whose hash says which worker takes a row; without them each takes an even share.
        owners: Option<Vec<usize>>,
    },
    Filter {
        input: usize,
        predicate: Physical,
        columns: Vec<usize>,
    },
    Project {
        input: usize,
        expressions: Vec<Physical>,
    },
    Select {
        input: usize,
        columns: Vec<usize>,
    },
    Union {
        inputs: Vec<usize>,
    },
    /// Rows with equal values in the columns come to the same worker; without columns all to the first.
    Exchange {
        input: usize,
        columns: Vec<usize>,
    },
    Arrange {
        input: usize,
        wanted: usize,
    },
    Join(Box<JoinSpec>),
    /// Beside each row, the number of the group that the columns make.
    Number {
        input: usize,
        columns: Vec<usize>,
        space: usize,
    },
    /// Any other operator, over inputs whose columns are those of the plan.
    Operator {
        inputs: Vec<usize>,
        node: Box<Node>,
        options: AggregateOptions,
        /// Where an aggregate's groups are, when their key is not among the columns of its input.
        placement: Option<Placement>,
    },
}

/// A join whose arrangements are not made yet.
#[derive(Clone)]
struct JoinSpec {
    kind: JoinKind,
    left: SideSpec,
    right: SideSpec,
    conditions: Vec<(Physical, Vec<PairColumn>)>,
    output: Vec<PairColumn>,
}

#[derive(Clone, PartialEq)]
struct SideSpec {
    /// The stage that the rows come from.
    input: usize,
    /// The arrangement, among those that are wanted.
    wanted: usize,
    is_private: bool,
    is_elided: bool,
    /// Which of the arrangement's intervals pairs must meet at, and how.
    band: Option<(usize, Strictness)>,
}

/// An arrangement that joins want.
#[derive(Clone, PartialEq)]
struct Wanted {
    input: usize,
    key: Vec<usize>,
    space: usize,
    nulls: Nulls,
    options: RowsOptions,
    is_private: bool,
    payload: Columns,
    /// The intervals that it knows of its rows.
    bands: Vec<Ends>,
}

/// A node that was built: its stage, and where the node's columns are among the stage's; those that were not needed are
/// anywhere.
struct Built {
    stage: usize,
    columns: Vec<usize>,
    /// The stage's column with the numbers that were asked for, and whose they are.
    number: Option<(usize, usize)>,
}

impl Built {
    fn new(stage: usize, columns: Vec<usize>) -> Self {
        Self { stage, columns, number: None }
    }
}

/// Builds stages.
pub(crate) struct Builder<'a> {
    tables: &'a TablePlace<'a>,
    options: &'a DataflowOptions,
    specs: Vec<Spec>,
    schemas: Vec<SchemaRef>,
    placements: Vec<Placement>,
    /// The parts of plans that each stage computes.
    nodes: Vec<BTreeSet<PlanNode>>,
    wanted: Vec<Wanted>,
    spaces: Vec<(Vec<DataType>, Nulls)>,
    views: Vec<(usize, Vec<usize>)>,
    /// The stages that were asked for by nodes that are not built yet.
    asked: Vec<usize>,
    /// How many nodes of the view's plan are built.
    built: usize,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(tables: &'a TablePlace<'a>, options: &'a DataflowOptions) -> Self {
        Self {
            tables,
            options,
            specs: Vec::new(),
            schemas: Vec::new(),
            placements: Vec::new(),
            nodes: Vec::new(),
            wanted: Vec::new(),
            spaces: Vec::new(),
            views: Vec::new(),
            asked: Vec::new(),
            built: 0,
        }
    }

    /// Adds a view.
    pub(crate) fn view(&mut self, plan: &ViewPlan) -> Result<(), FlowError> {
        self.built = 0;
        let built = self.node(&plan.root, &all(&plan.root), None).map_err(|error| match error {
            BuildError::Unsupported(what) => {
                FlowError::Unsupported { view: plan.name.clone(), what }
            }
            BuildError::Columns(source) => FlowError::Columns { view: plan.name.clone(), source },
        })?;
        self.views.push((built.stage, built.columns));
        Ok(())
    }

    /// Builds a node with the columns that its reader needs, and, if wanted, with the numbers of the groups that other
    /// columns make; notes which stages compute it.
    fn node(
        &mut self,
        node: &Node,
        needed: &Columns,
        numbered: Option<&[usize]>,
    ) -> Result<Built, BuildError> {
        let before = self.asked.len();
        let built = match numbered.filter(|columns| !self.passes_below(node, columns)) {
            Some(columns) => {
                let needed = needed.iter().chain(columns).copied().collect();
                let built = self.stages_of(node, &needed, None)?;
                self.number(built, columns)?
            }
            None => self.stages_of(node, needed, numbered)?,
        };
        let of = PlanNode { view: self.views.len(), node: self.built };
        self.built += 1;
        for stage in self.asked.drain(before..) {
            self.nodes[stage].insert(of);
        }
        Ok(built)
    }

    fn stages_of(
        &mut self,
        node: &Node,
        needed: &Columns,
        numbered: Option<&[usize]>,
    ) -> Result<Built, BuildError> {
        match node {
            Node::Table { table, columns, .. } => {
                let (place, read, schema) = (self.tables)(table.name());
                let stage =
                    self.add(Spec::Table { table: place, owners: None }, Arc::clone(schema));
                let position = |column| read.binary_search(column).unwrap_or(usize::MAX);
                Ok(Built::new(stage, columns.iter().map(position).collect()))
            }
            Node::Filter { input, predicate } => self.filter(input, predicate, needed, numbered),
            Node::Project { input, expressions, schema } => {
                self.project((input, expressions, schema), needed, numbered)
            }
            Node::Join { .. } => self.join(node, needed, numbered),
            Node::Aggregate { input, group, aggregates: calls, schema } => {
                self.aggregate(Wish { input, group, calls, schema })
            }
            Node::Union { inputs, schema } => {
                let kept: Vec<usize> = needed.iter().copied().collect();
                let schema = selected(schema, &kept);
                let mut stages = Vec::with_capacity(inputs.len());
                for input in inputs {
                    let built = self.node(input, needed, None)?;
                    stages.push(self.select(&built, &kept, &schema));
                }
                let stage = self.add(Spec::Union { inputs: stages }, schema);
                Ok(Built::new(stage, compact(&kept, node)))
            }
            Node::Constant { .. }
            | Node::Unnest { .. }
            | Node::Distinct { .. }
            | Node::SetOperation { .. }
            | Node::TopK { .. }
            | Node::Window { .. }
            | Node::Single { .. } => self.whole(node),
        }
    }

    /// An operator that reads all columns of its inputs and gives all of its own.
    fn whole(&mut self, node: &Node) -> Result<Built, BuildError> {
        let mut inputs = Vec::new();
        for input in node.inputs() {
            let kept: Vec<usize> = all(input).into_iter().collect();
            let built = self.node(input, &all(input), None)?;
            let stage = self.select(&built, &kept, &nullable(&input.schema()));
            let together: Option<Vec<usize>> = match node {
                Node::Distinct { .. } | Node::SetOperation { .. } => Some(kept),
                Node::TopK { partition, .. } | Node::Window { partition, .. } => {
                    Some(partition.clone())
                }
                Node::Single { key, .. } => Some(key.clone()),
                Node::Unnest { .. } => None,
                Node::Constant { .. }
                | Node::Table { .. }
                | Node::Filter { .. }
                | Node::Project { .. }
                | Node::Join { .. }
                | Node::Aggregate { .. }
                | Node::Union { .. } => None,
            };
            let needs_same = matches!(node, Node::SetOperation { .. });
            inputs.push(match together {
                Some(columns) => self.together(stage, &columns, needs_same),
                None => stage,
            });
        }
        // It must be possible to make it.
        let grows = node.inputs().into_iter().all(|input| only_grows(input, self.options));
        let options = AggregateOptions { only_grows: grows, ..AggregateOptions::default() };
        Operator::new(node, options)?;
        let (node, placement) = (Box::new(node.clone()), None);
        let schema = nullable(&node.schema());
        let width = schema.fields().len();
        let spec = Spec::Operator { inputs, node, options, placement };
        let stage = self.add(spec, schema);
        Ok(Built::new(stage, (0..width).collect()))
    }

    fn filter(
        &mut self,
        input: &Node,
        predicate: &Physical,
        needed: &Columns,
        numbered: Option<&[usize]>,
    ) -> Result<Built, BuildError> {
        let read: Columns = needed.union(&columns_of(predicate)).copied().collect();
        let built = self.node(input, &read, numbered)?;
        let kept: Vec<usize> = needed.iter().copied().collect();
        let number = built.number.map(|(_, space)| (kept.len(), space));
        let columns = kept.iter().map(|&column| built.columns[column]);
        let columns: Vec<usize> = columns.chain(built.number.map(|(column, _)| column)).collect();
        let schema = selected(&self.schemas[built.stage], &columns);
        let predicate = moved(predicate, &built.columns);
        let spec = Spec::Filter { input: built.stage, predicate, columns };
        let stage = self.add(spec, schema);
        Ok(Built { stage, columns: compact(&kept, input), number })
    }

    fn project(
        &mut self,
        (input, expressions, schema): (&Node, &[Physical], &SchemaRef),
        needed: &Columns,
        numbered: Option<&[usize]>,
    ) -> Result<Built, BuildError> {
        let mut read = Columns::new();
        for &column in needed {
            read.extend(columns_of(&expressions[column]));
        }
        let numbered = numbered.map(|columns| {
            plain(expressions, columns).expect("numbers pass below columns that are only chosen")
        });
        let built = self.node(input, &read, numbered.as_deref())?;
        let kept: Vec<usize> = needed.iter().copied().collect();
        let mut columns = vec![usize::MAX; expressions.len()];
        if let Some(chosen) = plain(expressions, &kept) {
            for (&column, from) in kept.iter().zip(chosen) {
                columns[column] = built.columns[from];
            }
            return Ok(Built { columns, ..built });
        }
        let mut computed: Vec<Physical> =
            kept.iter().map(|&column| moved(&expressions[column], &built.columns)).collect();
        let mut schema = selected(schema, &kept);
        if let Some((column, _)) = built.number {
            schema = with_number(&schema);
            let number = schema.field(kept.len()).name();
            computed.push(Arc::new(Column::new(number, column)));
        }
        let number = built.number.map(|(_, space)| (kept.len(), space));
        let spec = Spec::Project { input: built.stage, expressions: computed };
        let stage = self.add(spec, schema);
        for (at, &column) in kept.iter().enumerate() {
            columns[column] = at;
        }
        Ok(Built { stage, columns, number })
    }

    fn join(
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
    fn side(
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
    fn want(
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
    fn feeder(&self, side: &SideSpec) -> usize {
        if side.is_private { side.input } else { self.arranging(side.wanted) }
    }

    /// The stage that keeps a shared arrangement.
    fn arranging(&self, wanted: usize) -> usize {
        let is_it = |spec: &Spec| matches!(spec, Spec::Arrange { wanted: of, .. } if *of == wanted);
        self.specs.iter().position(is_it).expect("a shared arrangement has a stage")
    }

    /// A stage with exactly the given columns of a built node, and behind them the numbers that it has.
    fn select(&mut self, built: &Built, kept: &[usize], schema: &SchemaRef) -> usize {
        let columns = kept.iter().map(|&column| built.columns[column]);
        let columns: Vec<usize> = columns.chain(built.number.map(|(column, _)| column)).collect();
        let width = self.schemas[built.stage].fields().len();
        if columns.len() == width && columns.iter().copied().eq(0..width) {
            return built.stage;
        }
        let spec = Spec::Select { input: built.stage, columns };
        self.add(spec, Arc::clone(schema))
    }

    /// Adds a stage, unless there is one that computes the same.
    fn add(&mut self, spec: Spec, schema: SchemaRef) -> usize {
        let known = self.specs.iter().position(|other| is_same(other, &spec));
        let at = known.unwrap_or_else(|| {
            let placement = self.placement(&spec);
            self.specs.push(spec);
            self.schemas.push(schema);
            self.placements.push(placement);
            self.nodes.push(BTreeSet::new());
            self.specs.len() - 1
        });
        self.asked.push(at);
        at
    }

    /// Makes the graph of a worker.
    pub(crate) fn graph(&self, plans: &[ViewPlan], peer: Peer) -> Result<Graph, FlowError> {
        let mut graph = Graph::new(peer);
        graph.timer = Timer::new(self.options.clock);
        let view = plans.first().map(|plan| plan.name.clone()).unwrap_or_default();
        let failed = |source| FlowError::Columns { view: view.clone(), source };
        for (types, nulls) in &self.spaces {
            graph.state.spaces.push(Space::new(types, *nulls).map_err(failed)?);
        }
        for wanted in &self.wanted {
            let payload: Vec<usize> = wanted.payload.iter().copied().collect();
            let schema = &self.schemas[wanted.input];
            let types: Vec<DataType> =
                payload.iter().map(|&column| schema.field(column).data_type().clone()).collect();
            let mut rows = Rows::new(&types, wanted.options).map_err(failed)?;
            if !wanted.bands.is_empty() {
                rows.follow();
            }
            let band = |ends: &Ends| Band { ends: ends.clone(), bands: Bands::default() };
            graph.state.arrangements.push(Arrangement {
                space: wanted.space,
                key: wanted.key.clone(),
                payload,
                rows,
                bands: wanted.bands.iter().map(band).collect(),
                widest_bytes: 0,
            });
        }
        let mut levels: Vec<usize> = Vec::with_capacity(self.specs.len());
        for (at, spec) in self.specs.iter().enumerate() {
            let (mut work, inputs) = self.work(spec, at).map_err(|error| match error {
                BuildError::Unsupported(what) => {
                    FlowError::Unsupported { view: view.clone(), what }
                }
                BuildError::Columns(source) => failed(source),
            })?;
            for (port, &input) in inputs.iter().enumerate() {
                graph.stages[input].readers.push(Reader::Stage { stage: at, port });
            }
            let is_first = self.placements[at] == Placement::First;
            if is_first && peer.index > 0 && matches!(work, Work::Operator(_)) {
                work = Work::Idle;
            }
            let before = inputs.iter().map(|&input| levels[input]).max().unwrap_or(0);
            levels.push(before + usize::from(matches!(work, Work::Exchange(_))));
            let mut stage = Stage::new(work, inputs, levels[at]);
            stage.nodes = self.nodes[at].iter().copied().collect();
            graph.stages.push(stage);
        }
        for (view, ((stage, columns), plan)) in self.views.iter().zip(plans).enumerate() {
            graph.stages[*stage].readers.push(Reader::View(view));
            graph.add_view(plan, *stage, columns.clone());
        }
        graph.forget_unread();
        Ok(graph)
    }

    fn work(&self, spec: &Spec, at: usize) -> Result<(Work, Vec<usize>), BuildError> {
        let schema = &self.schemas[at];
        Ok(match spec {
            Spec::Table { table, owners } => {
                (Work::Table { table: *table, owners: owners.clone() }, Vec::new())
            }
            Spec::Filter { input, predicate, columns } => {
                let filter = Filter::new(predicate, columns.clone(), schema);
                (Work::Filter(filter), vec![*input])
            }
            Spec::Project { input, expressions } => {
                (Work::Project(Project::new(expressions, schema)), vec![*input])
            }
            Spec::Select { input, columns } => {
                (Work::Select(columns.clone(), nullable(schema)), vec![*input])
            }
            Spec::Union { inputs } => (Work::Union(nullable(schema)), inputs.clone()),
            Spec::Exchange { input, columns } => (Work::Exchange(columns.clone()), vec![*input]),
            Spec::Arrange { input, wanted } => (Work::Arrange(*wanted), vec![*input]),
            Spec::Join(spec) => {
                let inputs = vec![self.feeder(&spec.left), self.feeder(&spec.right)];
                (Work::Join(Box::new(self.make_join(spec, schema))), inputs)
            }
            Spec::Number { input, columns, space } => {
                (Work::Number(Numbering::new(columns.clone(), *space, schema)), vec![*input])
            }
            Spec::Operator { inputs, node, options, .. } => {
                (Work::Operator(Box::new(Operator::new(node, *options)?)), inputs.clone())
            }
        })
    }

    fn make_join(&self, spec: &JoinSpec, schema: &SchemaRef) -> Join {
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

/// All columns of a node.
fn all(node: &Node) -> Columns {
    (0..node.schema().fields().len()).collect()
}

/// Where a node's columns are when the stage has just the kept ones.
fn compact(kept: &[usize], node: &Node) -> Vec<usize> {
    let mut columns = vec![usize::MAX; node.schema().fields().len()];
    kept.iter().enumerate().for_each(|(at, &column)| columns[column] = at);
    columns
}

fn selected(schema: &SchemaRef, columns: &[usize]) -> SchemaRef {
    let fields = columns.iter().map(|&column| schema.field(column).clone());
    nullable(&Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// The columns of pairs of rows.
fn pair_schema(left: &Node, right: &Node) -> SchemaRef {
    let (left, right) = (left.schema(), right.schema());
    Arc::new(Schema::new(left.fields().iter().chain(right.fields()).cloned().collect::<Vec<_>>()))
}

/// The columns that an expression reads.
fn columns_of(expression: &Physical) -> Columns {
    datafusion::physical_expr::utils::collect_columns(expression)
        .into_iter()
        .map(|column| column.index())
        .collect()
}

/// The expression with each column at another place.
fn moved(expression: &Physical, places: &[usize]) -> Physical {
    let place = |part: Physical| match part.downcast_ref::<Column>() {
        Some(column) => {
            let moved: Physical = Arc::new(Column::new(column.name(), places[column.index()]));
            Ok(Transformed::yes(moved))
        }
        None => Ok(Transformed::no(part)),
    };
    let moved = Arc::clone(expression).transform_up(place);
    moved.expect("moving a column does not fail").data
}

fn key_types(
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

/// Whether no two rows of a node have the same values in the columns.
fn is_unique(node: &Node, columns: &[usize]) -> bool {
    let columns: Columns = columns.iter().copied().collect();
    plan::keys(node).iter().any(|key| key.is_subset(&columns))
}

/// Whether a row of a node meets one row of the other at most, and neither ever loses a row.
fn meets_one_for_ever(node: &Node, other: &Node, key: &[usize], options: &DataflowOptions) -> bool {
    !key.is_empty()
        && is_unique(other, key)
        && only_grows(node, options)
        && only_grows(other, options)
}

/// Whether a node's rows never go.
fn only_grows(node: &Node, options: &DataflowOptions) -> bool {
    match node {
        Node::Table { table, .. } => {
            table.form() == ChangeForm::Exact && options.append_only.contains(table.name())
        }
        Node::Constant { .. } => true,
        Node::Filter { input, .. }
        | Node::Project { input, .. }
        | Node::Unnest { input, .. }
        | Node::Distinct { input } => only_grows(input, options),
        Node::Join { left, right, kind, .. } => {
            matches!(kind, JoinKind::Inner | JoinKind::Semi)
                && only_grows(left, options)
                && only_grows(right, options)
        }
        Node::Union { inputs, .. } => inputs.iter().all(|input| only_grows(input, options)),
        Node::Aggregate { .. }
        | Node::SetOperation { .. }
        | Node::TopK { .. }
        | Node::Window { .. }
        | Node::Single { .. } => false,
    }
}
