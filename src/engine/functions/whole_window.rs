//! Analyzer rule: the window functions over whole partitions refuse a frame, DISTINCT, IGNORE NULLS and FILTER,
//! which they would ignore.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use datafusion::optimizer::AnalyzerRule;

use crate::Error;

/// The functions of which each value depends on all rows of the partition.
const FUNCTIONS: [&str; 5] = [
    "deviation",
    "dpp_rank",
    "minmax",
    "nearest_distance",
    "weight",
];

/// The rule.
#[derive(Debug)]
pub struct WholeWindow;

impl AnalyzerRule for WholeWindow {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expression| {
                expression.apply(|expression| {
                    if let Expr::WindowFunction(function) = expression {
                        check(function)?;
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "whole_window"
    }
}

/// Refuses what a function over whole partitions would ignore.
fn check(window: &WindowFunction) -> Result<()> {
    let WindowFunctionDefinition::WindowUDF(function) = &window.fun else {
        return Ok(());
    };
    let name = function.name();
    if !FUNCTIONS.contains(&name) {
        return Ok(());
    }
    let params = &window.params;
    let ignored = if params.distinct {
        "DISTINCT"
    } else if params.null_treatment == Some(NullTreatment::IgnoreNulls) {
        "IGNORE NULLS"
    } else if params.filter.is_some() {
        "FILTER"
    } else if !is_whole(&params.window_frame) {
        "the frame (ROWS, RANGE, GROUPS)"
    } else {
        return Ok(());
    };
    // Not as an error of planning: DataFusion puts the rule's name before that.
    let message = "is computed over whole partitions";
    Err(Error::input(name, message, format!("leave {ignored} out")).into())
}

/// Whether a frame is the whole partition, or the one that stands where `ORDER BY` is given and no frame is.
fn is_whole(frame: &WindowFrame) -> bool {
    let is_default =
        frame.units == WindowFrameUnits::Range && frame.end_bound == WindowFrameBound::CurrentRow;
    frame.start_bound.is_unbounded() && (frame.end_bound.is_unbounded() || is_default)
}
