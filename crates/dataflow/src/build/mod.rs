//! Views become stages: equal parts of plans once, and only columns that somebody reads.
//!
//! A plan is a tree; all plans together become one graph. A stage that computes what another one computes already is
//! that other one, whichever view asked first. A node is built with the columns that its reader needs and says where
//! they are among the columns of its stage, so a projection that only chooses columns is no stage at all, and a join
//! arranges no column that nobody reads. Joins that arrange the same stage by the same key share the arrangement, and
//! it keeps the columns that any of them needs.

mod placement;
mod same;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use change::{ChangeForm, TableName};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use plan::ir::{AggregateCall, JoinKind, Node, ViewPlan};

use crate::DataflowOptions;
use crate::arrangement::{Nulls, Rows, RowsOptions, Space};
use crate::columns::nullable;
use crate::error::FlowError;
use crate::exchange::Peer;
use crate::graph::{Graph, Reader, Stage, Work};
use crate::operator::filter::Filter;
use crate::operator::join::{Input, Join, JoinOptions, PairColumn, Side, shows_alone};
use crate::operator::project::Project;
use crate::operator::{BuildError, Operator};
use crate::stat::PlanNode;
use crate::state::Arrangement;
use crate::timer::Timer;

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
    /// Any other operator, over inputs whose columns are those of the plan.
    Operator {
        inputs: Vec<usize>,
        node: Box<Node>,
        /// Whether no row of the inputs ever goes.
        only_grows: bool,
    },
}

/// A join whose arrangements are not made yet.
#[derive(Clone)]
struct JoinSpec {
    kind: JoinKind,
    left: SideSpec,
    right: SideSpec,
    filter: Option<(Physical, Vec<PairColumn>)>,
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
}

/// A node that was built: its stage, and where the node's columns are among the stage's; those that were not needed are
/// anywhere.
struct Built {
    stage: usize,
    columns: Vec<usize>,
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
        let built = self.node(&plan.root, &all(&plan.root)).map_err(|error| match error {
            BuildError::Unsupported(what) => {
                FlowError::Unsupported { view: plan.name.clone(), what }
            }
            BuildError::Columns(source) => FlowError::Columns { view: plan.name.clone(), source },
        })?;
        self.views.push((built.stage, built.columns));
        Ok(())
    }

    /// Builds a node, and notes which stages compute it.
    fn node(&mut self, node: &Node, needed: &Columns) -> Result<Built, BuildError> {
        let before = self.asked.len();
        let built = self.stages_of(node, needed)?;
        let of = PlanNode { view: self.views.len(), node: self.built };
        self.built += 1;
        for stage in self.asked.drain(before..) {
            self.nodes[stage].insert(of);
        }
        Ok(built)
    }

    fn stages_of(&mut self, node: &Node, needed: &Columns) -> Result<Built, BuildError> {
        match node {
            Node::Table { table, columns, .. } => {
                let (place, read, schema) = (self.tables)(table.name());
                let stage = self.add(Spec::Table { table: place }, Arc::clone(schema));
                let position = |column| read.binary_search(column).unwrap_or(usize::MAX);
                Ok(Built { stage, columns: columns.iter().map(position).collect() })
            }
            Node::Filter { input, predicate } => self.filter(input, predicate, needed),
            Node::Project { input, expressions, schema } => {
                self.project(input, expressions, schema, needed)
            }
            Node::Join { .. } => self.join(node, needed),
            Node::Aggregate { input, group, aggregates, schema } => {
                self.aggregate(input, group, aggregates, schema)
            }
            Node::Union { inputs, schema } => {
                let kept: Vec<usize> = needed.iter().copied().collect();
                let schema = selected(schema, &kept);
                let mut stages = Vec::with_capacity(inputs.len());
                for input in inputs {
                    let built = self.node(input, needed)?;
                    stages.push(self.select(&built, &kept, &schema));
                }
                let stage = self.add(Spec::Union { inputs: stages }, schema);
                Ok(Built { stage, columns: compact(&kept, node) })
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
            let built = self.node(input, &all(input))?;
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
        Operator::new(node, grows)?;
        let spec = Spec::Operator { inputs, node: Box::new(node.clone()), only_grows: grows };
        let stage = self.add(spec, nullable(&node.schema()));
        Ok(Built { stage, columns: (0..node.schema().fields().len()).collect() })
    }

    fn filter(
        &mut self,
        input: &Node,
        predicate: &Physical,
        needed: &Columns,
    ) -> Result<Built, BuildError> {
        let read: Columns = needed.union(&columns_of(predicate)).copied().collect();
        let built = self.node(input, &read)?;
        let kept: Vec<usize> = needed.iter().copied().collect();
        let columns: Vec<usize> = kept.iter().map(|&column| built.columns[column]).collect();
        let schema = selected(&self.schemas[built.stage], &columns);
        let predicate = moved(predicate, &built.columns);
        let spec = Spec::Filter { input: built.stage, predicate, columns };
        let stage = self.add(spec, schema);
        Ok(Built { stage, columns: compact(&kept, input) })
    }

    fn project(
        &mut self,
        input: &Node,
        expressions: &[Physical],
        schema: &SchemaRef,
        needed: &Columns,
    ) -> Result<Built, BuildError> {
        let mut read = Columns::new();
        for &column in needed {
            read.extend(columns_of(&expressions[column]));
        }
        let built = self.node(input, &read)?;
        let plain = |&column: &usize| Some(expressions[column].downcast_ref::<Column>()?.index());
        let chosen: Option<Vec<usize>> = needed.iter().map(plain).collect();
        let mut columns = vec![usize::MAX; expressions.len()];
        if let Some(chosen) = chosen {
            for (&column, from) in needed.iter().zip(chosen) {
                columns[column] = built.columns[from];
            }
            return Ok(Built { stage: built.stage, columns });
        }
        let kept: Vec<usize> = needed.iter().copied().collect();
        let computed: Vec<Physical> =
            kept.iter().map(|&column| moved(&expressions[column], &built.columns)).collect();
        let spec = Spec::Project { input: built.stage, expressions: computed };
        let stage = self.add(spec, selected(schema, &kept));
        for (at, &column) in kept.iter().enumerate() {
            columns[column] = at;
        }
        Ok(Built { stage, columns })
    }

    fn aggregate(
        &mut self,
        input: &Node,
        group: &[usize],
        aggregates: &[AggregateCall],
        schema: &SchemaRef,
    ) -> Result<Built, BuildError> {
        let mut read: Columns = group.iter().copied().collect();
        for call in aggregates {
            read.extend(call.argument);
            read.extend(call.filter);
            read.extend(call.order.iter().map(|key| key.column));
        }
        let built = self.node(input, &read)?;
        let kept: Vec<usize> = read.into_iter().collect();
        let narrow = selected(&nullable(&input.schema()), &kept);
        let stage = self.select(&built, &kept, &narrow);
        let place = |column: usize| kept.binary_search(&column).expect("the column is read");
        let grouped: Vec<usize> = group.iter().map(|&column| place(column)).collect();
        let stage = self.together(stage, &grouped, false);
        let mut calls = aggregates.to_vec();
        for call in &mut calls {
            call.argument = call.argument.map(place);
            call.filter = call.filter.map(place);
            call.order.iter_mut().for_each(|key| key.column = place(key.column));
        }
        let node = Node::Aggregate {
            input: Box::new(Node::Constant { rows: RecordBatch::new_empty(narrow) }),
            group: grouped,
            aggregates: calls,
            schema: Arc::clone(schema),
        };
        let grows = only_grows(input, self.options);
        Operator::new(&node, grows)?;
        let width = schema.fields().len();
        let spec = Spec::Operator { inputs: vec![stage], node: Box::new(node), only_grows: grows };
        let stage = self.add(spec, nullable(schema));
        Ok(Built { stage, columns: (0..width).collect() })
    }

    fn join(&mut self, node: &Node, needed: &Columns) -> Result<Built, BuildError> {
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
        let (mut left_built, mut right_built) =
            (self.node(left, &of_left)?, self.node(right, &of_right)?);
        let (lefts, rights): (Vec<usize>, Vec<usize>) =
            on.iter().map(|&(l, r)| (left_built.columns[l], right_built.columns[r])).unzip();
        left_built.stage = self.together(left_built.stage, &lefts, true);
        right_built.stage = self.together(right_built.stage, &rights, true);
        let pair = |column: usize| match column.checked_sub(width) {
            None => PairColumn::Left(left_built.columns[column]),
            Some(column) => PairColumn::Right(right_built.columns[column]),
        };
        let sides = self.sides(node, [&left_built, &right_built], [&kept.0, &kept.1])?;
        let filter = filter.as_ref().map(|filter| {
            let read: Vec<usize> = columns_of(filter).into_iter().collect();
            let mut places = vec![usize::MAX; width + right.schema().fields().len()];
            read.iter().enumerate().for_each(|(at, &column)| places[column] = at);
            (moved(filter, &places), read.into_iter().map(pair).collect())
        });
        let shown: Vec<usize> = needed.iter().copied().collect();
        let output = shown.iter().map(|&column| pair(column)).collect();
        let [left, right] = sides;
        let spec = JoinSpec { kind: *kind, left, right, filter, output };
        let schema = selected(&node.schema(), &shown);
        let stage = self.add(Spec::Join(Box::new(spec)), schema);
        Ok(Built { stage, columns: compact(&shown, node) })
    }

    /// The sides of a join of built inputs, of which the kept columns are read above.
    fn sides(
        &mut self,
        node: &Node,
        built: [&Built; 2],
        kept: [&Columns; 2],
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
            let wanted = Wanted {
                input: built.stage,
                key,
                space: space.unwrap_or(usize::MAX),
                nulls,
                options: RowsOptions { unique: is_unique, has_matches },
                is_private: has_matches || is_elided,
                payload,
            };
            let taken = specs.first().map(|first| first.wanted);
            let (wanted, is_private) = self.want(wanted, &types, taken);
            space = Some(self.wanted[wanted].space);
            specs.push(SideSpec { input: built.stage, wanted, is_private, is_elided });
        }
        Ok(specs.try_into().unwrap_or_else(|_| unreachable!("a join has two sides")))
    }

    /// The columns of a stage that an arrangement keeps: those that are read, but for parts of the key that the other
    /// side knows as well (none of them when rows are shown without the other side). Floats that are equal may differ,
    /// so they are kept.
    fn payload(&self, built: &Built, kept: &Columns, key: &[usize]) -> Columns {
        let schema = &self.schemas[built.stage];
        let columns = kept.iter().map(|&column| built.columns[column]);
        columns
            .filter(|column| !key.contains(column) || has_floats(schema.field(*column).data_type()))
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

    /// A stage with exactly the given columns of a built node.
    fn select(&mut self, built: &Built, kept: &[usize], schema: &SchemaRef) -> usize {
        let columns: Vec<usize> = kept.iter().map(|&column| built.columns[column]).collect();
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
            let rows = Rows::new(&types, wanted.options).map_err(failed)?;
            let (space, key) = (wanted.space, wanted.key.clone());
            graph.state.arrangements.push(Arrangement { space, key, payload, rows });
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
        Ok(graph)
    }

    fn work(&self, spec: &Spec, at: usize) -> Result<(Work, Vec<usize>), BuildError> {
        let schema = &self.schemas[at];
        Ok(match spec {
            Spec::Table { table } => (Work::Table(*table), Vec::new()),
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
            Spec::Operator { inputs, node, only_grows } => {
                (Work::Operator(Box::new(Operator::new(node, *only_grows)?)), inputs.clone())
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
            types: types(side.input),
        };
        let filter = spec.filter.as_ref().map(|(filter, columns)| {
            let field = |column: &PairColumn| match *column {
                PairColumn::Left(column) => self.schemas[spec.left.input].field(column).clone(),
                PairColumn::Right(column) => self.schemas[spec.right.input].field(column).clone(),
            };
            let fields: Vec<_> = columns.iter().map(field).collect();
            (Arc::clone(filter), nullable(&Arc::new(Schema::new(fields))), columns.clone())
        });
        Join::new(JoinOptions {
            kind: spec.kind,
            left: side(&spec.left),
            right: side(&spec.right),
            filter,
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
