//! Every expression of a plan, seen once, with the columns that it can read.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, Union};

/// Rewrites the parts of all expressions, the inner ones first; what they are called stays.
pub(crate) fn every_expression(
    plan: LogicalPlan,
    part: impl Fn(Expr, &DFSchema) -> PlanResult<Transformed<Expr>>,
) -> PlanResult<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(|plan| rewritten(plan, &part))?.data)
}

fn rewritten(
    plan: LogicalPlan,
    part: &impl Fn(Expr, &DFSchema) -> PlanResult<Transformed<Expr>>,
) -> PlanResult<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expression| {
        let name = names.save(&expression);
        let expression = expression.transform_up(|inner| part(inner, &schema))?;
        Ok(expression.update_data(|expression| name.restore(expression)))
    })?;
    plan.map_data(|plan| {
        if let LogicalPlan::Union(union) = plan {
            return of_inputs(union).map(LogicalPlan::Union);
        }
        plan.recompute_schema()
    })
}

/// A union whose columns are noted to be what all of its inputs note, and nothing else: DataFusion takes the last
/// input's word, and keeps it when the inputs change.
fn of_inputs(mut union: Union) -> PlanResult<Union> {
    let inputs: Vec<_> = union.inputs.iter().map(|input| Arc::clone(input.schema())).collect();
    let fields = union.schema.iter().enumerate().map(|(at, (table, field))| {
        let noted = |schema: &Arc<DFSchema>| {
            let field = schema.fields().get(at).filter(|field| !field.data_type().is_null());
            field.map(|field| field.metadata().clone())
        };
        let mut noted = inputs.iter().filter_map(noted);
        let first = noted.next().unwrap_or_default();
        let agree = noted.all(|other| other == first);
        let metadata = if agree { first } else { Default::default() };
        (table.cloned(), Arc::new(field.as_ref().clone().with_metadata(metadata)))
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), union.schema.metadata().clone())?;
    union.schema = Arc::new(schema);
    Ok(union)
}
