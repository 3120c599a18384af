//! The functions that queries may use, and the session that plans and reads with them.

#![allow(clippy::wildcard_enum_match_arm, reason = "types and expressions grow with DataFusion")]

pub(crate) mod arithmetic;
mod builders;
mod dates;
pub(crate) mod define;
pub(crate) mod documents;
mod lists;
mod numbers;
mod patterns;
mod text;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::config::ConfigOptions;
use datafusion::error::Result as PlanResult;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, ScalarUDF, Volatility};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::sql::planner::ParserOptions;

use crate::casts::PostgresCasts;
use crate::floats::FloatsBeforeDecimals;
use crate::json;
use crate::named::NamedTypes;
use crate::operators::{IntervalOperators, PostgresOperators};
use crate::results::PostgresTypes;
use crate::rewrite::every_expression;
use crate::spans::IntervalsByLength;
use crate::string_agg::string_agg;
use crate::zeros::OneZeroInLists;

pub(crate) use lists::folded_floats;
pub(crate) use text::text_of;

/// PostgreSQL's names of functions that DataFusion calls otherwise.
const ALIASES: [(&str, &str); 2] = [("ceil", "ceiling"), ("signum", "sign")];

/// Functions whose result depends on the moment at which they run.
const CLOCKS: [&str; 8] = [
    "now",
    "today",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "clock_timestamp",
];

/// The aggregate functions that are maintained.
const AGGREGATES: [&str; 25] = [
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "grouping",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "max",
    "mean",
    "min",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var",
    "var_pop",
    "var_population",
    "var_samp",
    "var_sample",
    "variance",
];

/// The window functions that are maintained, beside aggregates.
const WINDOWS: [&str; 11] = [
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

/// PostgreSQL's names of aggregates that DataFusion calls otherwise.
const AGGREGATE_ALIASES: [(&str, &str); 2] = [("bool_and", "every"), ("var", "variance")];

/// Creates a session with the functions, types and orderings of views, for reading their rows.
///
/// Numbers with a point are decimals, text is `Utf8`, and NULLs are greater than all values, as in PostgreSQL.
#[must_use]
pub fn session_context() -> SessionContext {
    SessionContext::new_with_state(session_state())
}

pub(crate) fn session_state() -> SessionState {
    let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(true);
    set_dialect(config.options_mut());
    let mut rules = Analyzer::new().rules;
    rules.insert(0, Arc::new(IntervalsByLength));
    rules.insert(0, Arc::new(PostgresOperators));
    rules.insert(0, Arc::new(FloatsBeforeDecimals));
    rules.insert(0, Arc::new(OneZeroInLists));
    rules.insert(0, Arc::new(NamedTypes));
    rules.insert(0, Arc::new(OwnFunctions(own_functions())));
    rules.insert(0, Arc::new(PostgresTypes));
    // Behind the coercion of types, so that casts which nobody wrote are PostgreSQL's too.
    rules.push(Arc::new(PostgresCasts));
    let builder = SessionStateBuilder::new().with_config(config).with_default_features();
    let mut state = builder.with_analyzer_rules(rules).build();
    for (name, alias) in ALIASES {
        if let Some(function) = state.scalar_functions().get(name).cloned() {
            let aliased = Arc::new(ScalarUDF::clone(&function).with_aliases([alias]));
            let registry: &mut dyn FunctionRegistry = &mut state;
            // Without an own registry of functions, the session takes any; a refusal would only lose an alias.
            drop(registry.register_udf(aliased));
        }
    }
    let registry: &mut dyn FunctionRegistry = &mut state;
    for function in own_functions().into_values().chain(json::functions().into_iter().map(Arc::new))
    {
        drop(registry.register_udf(function));
    }
    drop(registry.register_expr_planner(Arc::new(json::JsonOperators)));
    drop(registry.register_expr_planner(Arc::new(IntervalOperators)));
    drop(registry.register_udaf(string_agg()));
    for (name, alias) in AGGREGATE_ALIASES {
        if let Some(function) = state.aggregate_functions().get(name).cloned() {
            let aliased = Arc::new(AggregateUDF::clone(&function).with_aliases([alias]));
            let registry: &mut dyn FunctionRegistry = &mut state;
            drop(registry.register_udaf(aliased));
        }
    }
    state
}

/// Functions of our own, by name: those that DataFusion lacks, and those that it answers otherwise.
fn own_functions() -> BTreeMap<String, Arc<ScalarUDF>> {
    let all = [
        text::all(),
        patterns::all(),
        numbers::all(),
        time::all(),
        lists::all(),
        documents::all(),
        builders::all(),
    ];
    all.into_iter()
        .flatten()
        .map(|function| (function.name().to_owned(), Arc::new(function)))
        .collect()
}

/// Calls that the planner makes of syntax (`substring(… from …)`, `position`) are calls of our functions too.
#[derive(Debug)]
struct OwnFunctions(BTreeMap<String, Arc<ScalarUDF>>);

impl AnalyzerRule for OwnFunctions {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        every_expression(plan, |expression, _schema| {
            let Expr::ScalarFunction(mut call) = expression else {
                return Ok(Transformed::no(expression));
            };
            let name = if call.func.name() == "substr" { "substring" } else { call.func.name() };
            match self.0.get(name) {
                Some(own) if *own != call.func => {
                    call.func = Arc::clone(own);
                    Ok(Transformed::yes(Expr::ScalarFunction(call)))
                }
                Some(_) | None => Ok(Transformed::no(Expr::ScalarFunction(call))),
            }
        })
    }

    fn name(&self) -> &'static str {
        "own_functions"
    }
}

fn set_dialect(options: &mut ConfigOptions) {
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    options.execution.time_zone = Some("UTC".to_owned());
}

pub(crate) fn parser_options() -> ParserOptions {
    ParserOptions::new()
        .with_parse_float_as_decimal(true)
        .with_map_string_types_to_utf8view(false)
        .with_collect_spans(true)
}

/// What a function's name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A function of one row that always gives the same result.
    Scalar,
    /// A function whose result changes by itself.
    Volatile,
    /// An aggregate that is maintained.
    Aggregate,
    /// An aggregate that is not.
    OtherAggregate,
    /// A window function.
    Window,
}

/// The functions by name.
pub(crate) struct Functions<'a>(pub(crate) &'a SessionState);

impl Functions<'_> {
    pub(crate) fn kind(&self, name: &str) -> Option<Kind> {
        if CLOCKS.contains(&name) {
            return Some(Kind::Volatile);
        }
        if AGGREGATES.contains(&name) {
            return Some(Kind::Aggregate);
        }
        if WINDOWS.contains(&name) {
            return Some(Kind::Window);
        }
        if name == "unnest" {
            return Some(Kind::Scalar);
        }
        if let Some(function) = self.0.scalar_functions().get(name) {
            let volatile = function.signature().volatility == Volatility::Volatile;
            return Some(if volatile { Kind::Volatile } else { Kind::Scalar });
        }
        if self.0.aggregate_functions().contains_key(name) {
            return Some(Kind::OtherAggregate);
        }
        self.0.window_functions().contains_key(name).then_some(Kind::Window)
    }

    /// All names that can be used, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.scalar_functions().keys().map(String::as_str).collect();
        names.extend(AGGREGATES);
        names.extend(WINDOWS);
        names.push("unnest");
        let is_known = |name: &&str| {
            matches!(self.kind(name), Some(Kind::Scalar | Kind::Aggregate | Kind::Window))
        };
        names.retain(is_known);
        names.sort_unstable();
        names
    }
}
