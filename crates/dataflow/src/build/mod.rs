//! Views become stages: equal parts of plans once, and only columns that somebody reads.
//!
//! A plan is a tree; all plans together become one graph. A stage that computes what another one computes already is
//! that other one, whichever view asked first. A node is built with the columns that its reader needs and says where
//! they are among the columns of its stage, so a projection that only chooses columns is no stage at all, and a join
//! arranges no column that nobody reads. Joins that arrange the same stage by the same key share the arrangement, and
//! it keeps the columns that any of them needs.

mod aggregate;
mod bounds;
mod eager;
mod join;
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
use crate::operator::join::PairColumn;
use crate::operator::numbering::{Numbering, numbered as with_number};
use crate::operator::project::Project;
use crate::operator::{AggregateOptions, BuildError, Operator};
use crate::stat::PlanNode;
use crate::state::Arrangement;
use crate::timer::Timer;

use self::aggregate::{Wish, plain};
use self::eager::EagerSpec;
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
    Eager(Box<EagerSpec>),
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
        let numbered_here = numbered.filter(|columns| !self.passes_below(node, columns));
        let built = match numbered_here {
            Some(columns) => {
                let needed = needed.iter().chain(columns).copied().collect();
                self.stages_of(node, &needed, None)?
            }
            None => self.stages_of(node, needed, numbered)?,
        };
        let of = PlanNode { view: self.views.len(), node: self.built };
        self.built += 1;
        for stage in self.asked.drain(before..) {
            self.nodes[stage].insert(of);
        }
        // Numbers belong to the join that asks for them.
        match numbered_here {
            Some(columns) => self.number(built, columns),
            None => Ok(built),
        }
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
            Spec::Eager(spec) => (Work::Eager(Box::new(spec.make()?)), spec.inputs.to_vec()),
            Spec::Number { input, columns, space } => {
                (Work::Number(Numbering::new(columns.clone(), *space, schema)), vec![*input])
            }
            Spec::Operator { inputs, node, options, .. } => {
                (Work::Operator(Box::new(Operator::new(node, *options)?)), inputs.clone())
            }
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

/// Whether no two rows of a node have the same values in the columns.
fn is_unique(node: &Node, columns: &[usize]) -> bool {
    let columns: Columns = columns.iter().copied().collect();
    plan::keys(node).iter().any(|key| key.is_subset(&columns))
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
