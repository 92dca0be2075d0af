//! SQL functions, one per file, named as in SQL.

mod constant;
pub mod deviation;
pub mod dpp_rank;
pub mod embed;
pub mod minmax;
pub mod nearest_distance;
pub mod pairs_by_diversity;
pub mod pairs_by_gap;
pub mod reward;
pub mod token_count;
pub mod weight;
mod whole_partition;
pub mod whole_window;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::prelude::SessionContext;

use crate::Result;

/// Registers all functions of the project with a session.
///
/// # Errors
/// Currently none; the registry's interface allows them.
pub fn register_all(context: &SessionContext) -> Result<()> {
    context.register_udwf(WindowUDF::from(deviation::Deviation::default()));
    context.register_udwf(WindowUDF::from(dpp_rank::DppRank::default()));
    context.register_udf(ScalarUDF::from(embed::Embed::default()));
    context.register_udwf(WindowUDF::from(minmax::MinMax::default()));
    context.register_udwf(WindowUDF::from(nearest_distance::NearestDistance::default()));
    context.register_udaf(AggregateUDF::from(
        pairs_by_diversity::PairsByDiversity::default(),
    ));
    context.register_udaf(AggregateUDF::from(pairs_by_gap::PairsByGap::default()));
    context.register_udf(ScalarUDF::from(reward::Reward::default()));
    context.register_udf(ScalarUDF::from(token_count::TokenCount::default()));
    context.register_udwf(WindowUDF::from(weight::Weight::default()));
    Ok(())
}
