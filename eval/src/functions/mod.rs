//! SQL functions of the evaluation: the aggregates of the measures and of terms.

pub mod log_odds;

use polyphony_engine::datafusion::logical_expr::AggregateUDF;
use polyphony_engine::datafusion::prelude::SessionContext;

use crate::measures::udaf;

/// Registers the aggregates of all measures, and [`log_odds`], with a session.
pub fn register_all(context: &SessionContext) {
    udaf::register_all(context);
    context.register_udaf(AggregateUDF::from(log_odds::LogOdds::default()));
}
