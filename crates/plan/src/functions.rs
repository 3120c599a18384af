//! The functions that queries may use, and the session that plans and reads with them.

use std::sync::Arc;

use datafusion::config::ConfigOptions;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, Volatility};
use datafusion::optimizer::Analyzer;
use datafusion::sql::planner::ParserOptions;

use crate::floats::FloatsBeforeDecimals;
use crate::json;
use crate::results::PostgresTypes;
use crate::string_agg::string_agg;

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
const AGGREGATES: [&str; 21] = [
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "grouping",
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
    rules.insert(0, Arc::new(FloatsBeforeDecimals));
    rules.insert(0, Arc::new(PostgresTypes));
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
    for function in json::functions() {
        drop(registry.register_udf(Arc::new(function)));
    }
    drop(registry.register_expr_planner(Arc::new(json::JsonOperators)));
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
