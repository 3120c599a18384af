//! A script and a catalogue become a program.

#![allow(clippy::wildcard_enum_match_arm, reason = "the syntax tree is sqlparser's")]

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use change::TableSchema;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{PipeOperator, Query, Spanned};

use crate::catalog::Catalog;
use crate::codes;
use crate::convert;
use crate::definition::TableDefinition;
use crate::functions::{Functions, session_state};
use crate::ir::{Node, Program, ViewPlan};
use crate::keys;
use crate::lex::bytes_of;
use crate::logical;
use crate::name::{Url, quoted, with_table};
use crate::pipe::{Clash, clash, created_name};
use crate::place::{Finder, Text, of_text};
use crate::problem::{Problem, Problems, suggest};
use crate::resolve::{Resolved, resolve};
use crate::scope::Column;
use crate::script::{Mirror, Name, Script, Statement, View, parse, sink_spec};
use crate::stack::deep;
use crate::tables::Tables;

/// Plans a script on top of what exists.
///
/// The program holds the statements of the catalogue and those of the script; a statement that the catalogue holds
/// already, word for word, may be repeated. So an empty script gives the program of the catalogue alone.
///
/// # Errors
/// Every unknown name, type that does not fit, and query that cannot be maintained, in all statements.
pub fn plan(script: &Script, catalog: &Catalog) -> Result<Program, Problems> {
    Ok(logical_views(script, catalog)?.0)
}

/// A view's plan, and the optimised plan of DataFusion that it comes from.
struct PlannedView {
    plan: ViewPlan,
    logical: LogicalPlan,
}

/// Plans a script; returns beside the program DataFusion's plan of each of its views.
pub(crate) fn logical_views(
    script: &Script,
    catalog: &Catalog,
) -> Result<(Program, Vec<LogicalPlan>), Problems> {
    let planner = deep(|| Planner::run(script, catalog))?;
    let (views, logical) = planner.views.into_iter().map(|view| (view.plan, view.logical)).unzip();
    Ok((Program { views, ..planner.program }, logical))
}

struct Planner<'a> {
    /// The text that problems point into.
    text: &'a str,
    state: SessionState,
    tables: Tables,
    program: Program,
    views: Vec<PlannedView>,
    /// The texts of the views, one each.
    texts: Vec<Text>,
    problems: Vec<Problem>,
    /// The kinds and names of statements in the catalogue.
    catalogued: BTreeSet<(&'static str, String)>,
}

/// A view that is ready to run, and the plan by which later views read it.
struct Ready {
    view: PlannedView,
    schema: SchemaRef,
    inlined: LogicalPlan,
    text: Text,
}

impl<'a> Planner<'a> {
    fn run(script: &'a Script, catalog: &'a Catalog) -> Result<Self, Problems> {
        let created = |text: &String| created_name(text);
        let mut sources: Vec<_> = catalog.sources.iter().filter_map(created).collect();
        sources.extend(script.sources().into_iter().map(|source| source.name));
        let mut planner = Self {
            text: "",
            state: session_state(),
            tables: Tables::new(&catalog.all_tables(), sources),
            program: Program::default(),
            views: Vec::new(),
            texts: Vec::new(),
            problems: Vec::new(),
            catalogued: BTreeSet::new(),
        };
        let before = catalog.sources.iter().chain(&catalog.own_tables);
        for text in before.chain(&catalog.views).chain(&catalog.sinks) {
            planner.catalogued(text);
        }
        planner.text = &script.text;
        for statement in &script.statements {
            planner.statement(statement);
        }
        let problems = std::mem::take(&mut planner.problems);
        Problems::unless(&script.text, problems, planner)
    }

    /// Plans a statement of the catalogue. Its problems have no place in the script.
    fn catalogued(&mut self, text: &'a str) {
        let before = self.problems.len();
        self.text = text;
        match parse(text) {
            Ok(script) => {
                for statement in &script.statements {
                    self.statement(statement);
                    let name = match statement {
                        Statement::Source(name, _) => ("source", name.name.clone()),
                        Statement::Table(name, _) => ("table", name.name.clone()),
                        Statement::View(view) => ("view", view.name.name.clone()),
                        Statement::Sink(name, _) => ("sink", name.name.clone()),
                        Statement::Mirror(mirror) => ("sink", mirror.name.name.clone()),
                    };
                    self.catalogued.insert(name);
                }
            }
            Err(problems) => self.problems.extend(problems.problems),
        }
        let head = text.lines().next().unwrap_or_default().trim_end_matches(" as").to_owned();
        for problem in &mut self.problems[before..] {
            problem.span = 0..0;
            problem.message = format!("`{head}` in the catalogue: {}", problem.message);
            "not in this script".clone_into(&mut problem.label);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Source(name, spec) => {
                let sources = self.program.sources.iter();
                let before = sources.map(|before| (&*before.name, &*before.statement));
                match clash(before, &spec.name, &spec.statement) {
                    Clash::None => self.program.sources.push(spec.clone()),
                    Clash::Same => {}
                    Clash::Other => self.taken("source", name),
                }
            }
            Statement::Table(name, table) => {
                let tables = self.program.tables.iter();
                let before = tables.map(|before| (&*before.name, &*before.statement));
                match clash(before, &table.name, &table.statement) {
                    Clash::None => {
                        self.tables.insert_table(&Arc::new(table.schema()));
                        self.program.tables.push(TableDefinition::clone(table));
                    }
                    Clash::Same => {}
                    Clash::Other => self.taken("table", name),
                }
            }
            Statement::View(view) => self.view(view),
            Statement::Sink(name, spec) => {
                let sinks = self.program.sinks.iter();
                let before = sinks.map(|before| (&*before.name, &*before.statement));
                match clash(before, &spec.name, &spec.statement) {
                    Clash::None if self.has_view(&spec.view, &name.target_span) => {
                        self.program.sinks.push(spec.clone());
                    }
                    Clash::None | Clash::Same => {}
                    Clash::Other => self.taken("sink", name),
                }
            }
            Statement::Mirror(mirror) => self.mirror(mirror),
        }
    }

    fn taken(&mut self, kind: &'static str, name: &Name) {
        let shown = &name.name;
        let (message, help) = if self.catalogued.contains(&(kind, shown.clone())) {
            let message = format!("a {kind} named {shown} exists already, and is another one");
            (message, format!("choose another name, or drop it first: `evert drop {shown}`"))
        } else {
            (format!("there are two {kind}s named {shown}"), "give one another name".to_owned())
        };
        let problem = Problem::new(codes::TAKEN, name.span.clone(), message, "taken");
        self.problems.push(problem.with_help(help));
    }

    fn view(&mut self, view: &View) {
        let name = &view.name.name;
        let before = self.views.iter().map(|before| (&*before.plan.name, &*before.plan.statement));
        match clash(before, name, &view.statement) {
            Clash::Same => return,
            Clash::Other => self.taken("view", &view.name),
            Clash::None => {}
        }
        match self.ready(view, self.text) {
            Ok(Some(ready)) => {
                self.tables.insert_view(name, ready.schema, ready.inlined);
                self.views.push(ready.view);
                self.texts.push(ready.text);
            }
            Ok(None) => self.tables.broken.push(name.clone()),
            Err(problems) => {
                self.problems.extend(problems);
                self.tables.broken.push(name.clone());
            }
        }
    }

    /// Plans a view; `None` when it reads a view that has problems of its own.
    fn ready(&self, view: &View, text: &str) -> Result<Option<Ready>, Vec<Problem>> {
        let mut query = Query::clone(&view.query);
        let whole = &view.query_span;
        let order_place = order_place(&query).unwrap_or_else(|| whole.clone());
        let functions = Functions(&self.state);
        let resolved = resolve(&mut query, whole, &self.tables, functions)?;
        let Some(Resolved { columns, marks }) = resolved else {
            return Ok(None);
        };
        let at = self.texts.len();
        let tables = (&self.tables, at);
        let planned = logical::plan(query, &columns, &self.state, tables).and_then(|plan| {
            let optimized = logical::optimize(plan.clone(), &self.state)?;
            Ok((of_text(plan, at)?, optimized))
        });
        let (inlined, logical) =
            planned.map_err(|error| vec![logical::problem(&error, text, whole)])?;
        let refuse = |refusal: convert::Refusal| vec![refusal.problem(text, whole)];
        let own = Text::new(view, marks, &self.texts);
        let finder = Finder::new(&self.texts, &own);
        let (converted, places) =
            convert::convert(&logical, &self.state, finder).map_err(refuse)?;
        let order = convert::output_order(&logical)
            .map_err(|refusal| vec![refusal.problem(text, &order_place)])?;
        let (schema, root) = named(converted, &columns);
        let plan = ViewPlan {
            name: view.name.name.clone(),
            key: keys::key(&root),
            schema: Arc::clone(&schema),
            order,
            root,
            statement: view.statement.clone(),
            places,
        };
        Ok(Some(Ready { view: PlannedView { plan, logical }, schema, inlined, text: own }))
    }

    /// Whether the sink's view is there.
    fn has_view(&mut self, name: &str, span: &Range<usize>) -> bool {
        if self.views.iter().any(|view| view.plan.name == name)
            || self.tables.broken.iter().any(|broken| broken == name)
        {
            return true;
        }
        let known = self.views.iter().map(|view| view.plan.name.as_str());
        let is_table = self.tables.names().iter().any(|table| table.ends_with(name));
        let help = if is_table {
            Some(format!("a sink copies a view: `create view {0} as from {0}`", quoted(name)))
        } else {
            suggest(name, known, "there are")
        };
        let message = format!("there is no view {name}");
        let problem = Problem::new(codes::TABLE, span.clone(), message, "not known");
        self.problems.push(Problem { help, ..problem });
        false
    }

    /// Mirrors every table of a source: a view and a sink each.
    fn mirror(&mut self, mirror: &Mirror) {
        let source = &mirror.source;
        let tables = self.tables.of_source(source);
        let url = Url::new(&mirror.url);
        let target = url.is_postgres().then(|| url.target_name()).flatten();
        let holds_one = match mirror.url.as_str() {
            "search" => false,
            _ => !url.is_postgres() || target.is_some(),
        };
        if let Some(problem) = self.refused_mirror(mirror, &tables, holds_one) {
            self.problems.push(problem);
            return;
        }
        for table in tables {
            let name = match holds_one && mirror.url != "stdout" {
                true => url.target_name().unwrap_or_else(|| table.name().table.to_string()),
                false => table.name().table.replace('.', "_"),
            };
            let into = match url.is_postgres() && target.is_none() {
                true => with_table(&mirror.url, &table.name().table),
                false => mirror.url.clone(),
            };
            self.mirror_table(mirror, &table, &name, &into);
        }
    }

    fn refused_mirror(
        &self,
        mirror: &Mirror,
        tables: &[Arc<TableSchema>],
        holds_one: bool,
    ) -> Option<Problem> {
        let source = &mirror.source;
        let place = mirror.name.target_span.clone();
        if !self.tables.sources.contains(source) {
            let names = self.tables.sources.iter().map(String::as_str).chain(["stdin", "demo"]);
            let help = suggest(source, names, "there are");
            let message = format!("there is no source {source}");
            return Some(Problem {
                help,
                ..Problem::new(codes::SOURCE, place, message, "not known")
            });
        }
        if tables.is_empty() {
            let message = format!("the source {source} has no tables to copy");
            return Some(Problem::new(codes::SOURCE, place, message, "nothing to read"));
        }
        if !holds_one || tables.len() == 1 {
            return None;
        }
        let names: Vec<_> = tables.iter().map(|table| quoted(&table.name().table)).collect();
        let message = format!("{} holds one table, but {source} has {}", mirror.url, tables.len());
        Some(
            Problem::new(codes::SOURCE, mirror.url_span.clone(), message, "too small")
                .with_help(format!("choose one with `from TABLE`: {}", names.join(", "))),
        )
    }

    fn mirror_table(&mut self, mirror: &Mirror, table: &TableSchema, name: &str, into: &str) {
        let full = table.name().table.split('.').map(quoted).collect::<Vec<_>>().join(".");
        let source = quoted(&table.name().source);
        let text = format!("create view {} as from {source}.{full}", quoted(name));
        let parsed = parse(&text).ok().and_then(|script| script.statements.into_iter().next());
        let Some(Statement::View(mut view)) = parsed else {
            return;
        };
        let span = mirror.name.span.clone();
        view.name = Name { name: name.to_owned(), span: span.clone(), target_span: span.clone() };
        view.query_span = span;
        self.view(&view);
        let kind = mirror.name.name.rsplit("_to_").next().unwrap_or("sink");
        let sink = sink_spec(&format!("{name}_to_{kind}"), name, into, mirror.options.clone());
        let place = Name { name: sink.name.clone(), ..mirror.name.clone() };
        self.statement(&Statement::Sink(place, sink));
    }
}

/// Where the query says how its rows are ordered.
fn order_place(query: &Query) -> Option<Range<usize>> {
    let stages = query.pipe_operators.iter().rev();
    let of_stage = |stage: &PipeOperator| match stage {
        PipeOperator::OrderBy { exprs } => {
            let first = bytes_of(exprs.first()?.span())?;
            Some(first.start..bytes_of(exprs.last()?.span())?.end)
        }
        _ => None,
    };
    stages.filter_map(of_stage).next().or_else(|| bytes_of(query.order_by.as_ref()?.span()))
}

/// Gives the root the view's column names.
fn named(root: Node, columns: &[Column]) -> (SchemaRef, Node) {
    let field = |(field, column): (&Arc<Field>, &Column)| {
        Field::clone(field).with_name(column.name.as_str()).with_nullable(true)
    };
    let fields: Vec<_> = root.schema().fields().iter().zip(columns).map(field).collect();
    let schema = Arc::new(Schema::new(fields));
    let root = convert::with_schema(root, &schema);
    (schema, root)
}

impl Program {
    /// The statements of the program, as the catalogue keeps them.
    #[must_use]
    pub fn statements(&self) -> Vec<&str> {
        let sources = self.sources.iter().map(|source| source.statement.as_str());
        let tables = self.tables.iter().map(|table| table.statement.as_str());
        let views = self.views.iter().map(|view| view.statement.as_str());
        let sinks = self.sinks.iter().map(|sink| sink.statement.as_str());
        sources.chain(tables).chain(views).chain(sinks).collect()
    }
}
