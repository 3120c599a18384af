//! DataFusion's part: types and a plan for a resolved query, optimised with rules whose results can be maintained.

#![allow(clippy::wildcard_enum_match_arm, reason = "the planner's errors grow with DataFusion")]

use std::ops::Range;
use std::sync::Arc;

use datafusion::common::Diagnostic;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, cast,
};
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{
    ApplyOrder, Optimizer, OptimizerConfig, OptimizerContext, OptimizerRule,
};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{Query, Statement};

use crate::codes::{self, Code};
use crate::decorrelate::decorrelate;
use crate::functions::parser_options;
use crate::lex::{lex, lower_first};
use crate::lower::lower;
use crate::problem::Problem;
use crate::scope::Column;
use crate::tables::{Provider, Tables};

/// Plans a resolved query, which is the given one of all views' texts; the result's columns have the given columns'
/// names.
pub(crate) fn plan(
    query: Query,
    columns: &[Column],
    state: &SessionState,
    (tables, text): (&Tables, usize),
) -> PlanResult<LogicalPlan> {
    let provider = Provider { state, tables, text };
    let planner = SqlToRel::new_with_options(&provider, parser_options());
    let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(query)))?;
    let found = plan.schema().columns();
    if found.len() != columns.len() {
        return Err(DataFusionError::Internal(format!(
            "{} columns are planned where {} were resolved",
            found.len(),
            columns.len()
        )));
    }
    let named = found
        .into_iter()
        .zip(columns)
        .map(|(found, column)| Expr::Column(found).alias(column.name.as_str()));
    let mut plan = LogicalPlanBuilder::from(plan).project(named)?.build()?;
    // The analyser's own last check refuses subqueries that are joins a moment later.
    for rule in &state.analyzer().rules {
        plan = rule.analyze(plan, state.config_options())?;
    }
    let context = OptimizerContext::new_with_config_options(Arc::clone(state.config_options()));
    let plan = RewriteSetComparison::new().rewrite(plan, &context)?.data;
    decorrelate(lower(plan)?)
}

/// Moves filters and projections down and finds the keys of joins.
pub(crate) fn optimize(plan: LogicalPlan, state: &SessionState) -> PlanResult<LogicalPlan> {
    // Rules that invent nodes which cannot be maintained (semi joins, limits inside of joins) and
    // rules that are only about batches stay out.
    let rules = Optimizer::with_rules(vec![
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        // Before filters are pushed: one that is never true would be pushed below an aggregate, which then counts nothing
        // instead of being nothing.
        Arc::new(EliminateFilter::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(FiltersAboveTotals(PushDownFilter::new())),
        Arc::new(OptimizeProjections::new()),
    ]);
    let context = OptimizerContext::new_with_config_options(Arc::clone(state.config_options()));
    let plan = rules.optimize(plan, &context, |_, _| {})?;
    Ok(plan.transform_up(with_keys_of_one_type)?.data)
}

/// Casts the keys of a join whose types differ: rules take equalities apart whose sides were of one type only behind a
/// cast.
fn with_keys_of_one_type(node: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(mut join) = node else { return Ok(Transformed::no(node)) };
    for (left, right) in &mut join.on {
        let types = (left.get_type(join.left.schema())?, right.get_type(join.right.schema())?);
        let Some(one) = comparison_coercion(&types.0, &types.1) else { continue };
        for (side, data_type) in [(left, types.0), (right, types.1)] {
            if data_type != one {
                *side = cast(std::mem::take(side), one.clone());
            }
        }
    }
    Ok(Transformed::yes(LogicalPlan::Join(join)))
}

/// Moves filters down, but not below an aggregate without groups, which has one row also over none. DataFusion moves a
/// filter there that reads no column: below a branch of a rollup, `a >= a` is one, because `a` is NULL.
#[derive(Debug)]
struct FiltersAboveTotals(PushDownFilter);

impl OptimizerRule for FiltersAboveTotals {
    fn name(&self) -> &'static str {
        "filters_above_totals"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> PlanResult<Transformed<LogicalPlan>> {
        // The rule would make one filter of several, and move that: it is made here, and stays.
        let (mut below, mut conditions, mut filters) = (&plan, Vec::new(), 0);
        while let LogicalPlan::Filter(filter) = below {
            for condition in split_conjunction(&filter.predicate) {
                if !conditions.contains(condition) {
                    conditions.push(condition.clone());
                }
            }
            (below, filters) = (&filter.input, filters + 1);
        }
        match (below, filters) {
            (LogicalPlan::Aggregate(aggregate), 1..) if aggregate.group_expr.is_empty() => {
                let all = conjunction(conditions).filter(|_| filters > 1);
                let Some(all) = all else { return Ok(Transformed::no(plan)) };
                let one = Filter::try_new(all, Arc::new(below.clone()))?;
                Ok(Transformed::yes(LogicalPlan::Filter(one)))
            }
            _ => self.0.rewrite(plan, config),
        }
    }
}

/// Turns DataFusion's error into a problem at the best place that can be found.
pub(crate) fn problem(error: &DataFusionError, text: &str, whole: &Range<usize>) -> Problem {
    let diagnostic = error.diagnostic();
    let message = message_of(error, diagnostic);
    let code = code_of(&message);
    let span = diagnostic
        .and_then(|found| found.span.or_else(|| found.notes.iter().find_map(|note| note.span)))
        .and_then(|span| {
            let start = usize::try_from(span.start.column.checked_sub(1)?).ok()?;
            Some(start..usize::try_from(span.end.column.checked_sub(1)?).ok()?)
        })
        .or_else(|| named_place(&message, text, whole))
        .filter(|span| span.start >= whole.start && span.end <= whole.end)
        .unwrap_or_else(|| whole.clone());
    let message = match message.contains("must appear in GROUP BY") {
        true => "this column is neither grouped by nor inside an aggregate".to_owned(),
        false => message,
    };
    let label = match code {
        codes::TYPE => "the types do not fit",
        codes::GROUP => "many values in a group",
        _ => "here",
    };
    let advice = || Some(diagnostic?.helps.first()?.message.clone());
    let help = match code {
        codes::TYPE if diagnostic.is_some_and(|found| !found.helps.is_empty()) => advice(),
        codes::TYPE => Some("cast one side: `value::type`".to_owned()),
        codes::GROUP => Some("add it to `group by`, or aggregate it: `min(…)`".to_owned()),
        _ => advice(),
    };
    Problem { help, ..Problem::new(code, span, message, label) }
}

fn message_of(error: &DataFusionError, diagnostic: Option<&Diagnostic>) -> String {
    if let Some(diagnostic) =
        diagnostic.filter(|found| !found.message.contains("incompatible types"))
    {
        return clean(&diagnostic.message);
    }
    let root = error.find_root();
    clean(&match root {
        DataFusionError::Plan(message)
        | DataFusionError::NotImplemented(message)
        | DataFusionError::Execution(message)
        | DataFusionError::Configuration(message)
        | DataFusionError::Internal(message) => message.clone(),
        other => other.strip_backtrace(),
    })
}

/// The first sentence, without the planner's own markings.
fn clean(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.split("\n\nbacktrace").next().unwrap_or_default();
    let prefixes = [
        "internal error: ",
        "Internal error: ",
        "Error during planning: ",
        "Arrow error: ",
        "Optimizer rule ",
        "type_coercion",
    ];
    let mut line = line.trim();
    for prefix in prefixes {
        line = line.strip_prefix(prefix).unwrap_or(line).trim_start();
    }
    for end in
        [" Candidate functions", ", errors:", ". No function matches", ". This issue was likely"]
    {
        line = line.split(end).next().unwrap_or_default();
    }
    let line = line.replace("failed to match any signature", "takes no value of this type");
    lower_first(line.trim_end_matches(['.', ' ']))
}

fn code_of(message: &str) -> Code {
    let contains = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    if contains(&["cannot be maintained"]) {
        codes::SUBQUERY
    } else if contains(&["GROUP BY", "group by", "aggregate"]) {
        codes::GROUP
    } else if contains(&[
        "oerce",
        "cast",
        "Cast",
        "type",
        "function matches",
        "signature",
        "parse",
        "argument",
        "onvert",
        "compar",
        "recision",
        "boolean",
    ]) {
        codes::TYPE
    } else {
        codes::PLANNER
    }
}

/// Finds the only place of the query that has the function, operator or value which the message names.
fn named_place(message: &str, text: &str, whole: &Range<usize>) -> Option<Range<usize>> {
    let lexemes = lex(text, whole.clone()).ok()?;
    let only = |word: &str| {
        let mut found = lexemes.iter().filter(|lexeme| {
            lexeme.text == word || lexeme.string().is_some_and(|string| string == word)
        });
        found.next().filter(|_| found.next().is_none()).map(|lexeme| lexeme.span.clone())
    };
    let quoted = message.split(['\'', '`', '"']).skip(1).step_by(2);
    let names = quoted.flat_map(|part| [part, part.split('(').next().unwrap_or(part)]);
    let words = message.split_whitespace().map(|word| word.trim_matches(['(', ')', ',', '.', ':']));
    let telling = |word: &&str| {
        !word.is_empty() && !["for", "in", "and", "or", "to", "is", "by", "of"].contains(word)
    };
    names.chain(words).filter(telling).find_map(only)
}
