//! Arithmetic that says when a result does not fit its type, as PostgreSQL's does.
//!
//! DataFusion's wraps around unless it is told otherwise: a wrong number instead of an error.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as PlanResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;

/// The same expression, in which every sum, difference and product fails when it does not fit.
pub(crate) fn checked(expression: Arc<dyn PhysicalExpr>) -> PlanResult<Arc<dyn PhysicalExpr>> {
    let checked = expression.transform_up(|expression| {
        let binary = expression.downcast_ref::<BinaryExpr>();
        let Some(binary) = binary else { return Ok(Transformed::no(expression)) };
        let binary = binary.clone().with_fail_on_overflow(true);
        Ok(Transformed::yes(Arc::new(binary) as Arc<dyn PhysicalExpr>))
    });
    Ok(checked?.data)
}
