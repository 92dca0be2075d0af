//! Which functions does SQL get? One file each, named as in SQL.

pub mod deviation;
pub mod embed;
pub mod pairs_by_gap;
pub mod reward;
pub mod token_count;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::prelude::SessionContext;

use crate::Result;

/// Registers every function of the project with a session.
///
/// # Errors
/// None today; the registry may refuse names one day.
pub fn register_all(context: &SessionContext) -> Result<()> {
    context.register_udwf(WindowUDF::from(deviation::Deviation::default()));
    context.register_udf(ScalarUDF::from(embed::Embed::default()));
    context.register_udaf(AggregateUDF::from(pairs_by_gap::PairsByGap::default()));
    context.register_udf(ScalarUDF::from(reward::Reward::default()));
    context.register_udf(ScalarUDF::from(token_count::TokenCount::default()));
    Ok(())
}
