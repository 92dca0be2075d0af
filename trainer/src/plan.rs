//! Which examples does each step take?

use crate::config::Config;
use crate::data::Example;
use crate::pass::by_tokens;
use polyphony_engine::random::SplitMix64;

/// The examples of each step, by their places: every epoch in an order of its own.
pub fn plan(config: &Config, train: &[Example]) -> Vec<Vec<usize>> {
    let mut plan = Vec::new();
    let most = config.steps.unwrap_or(usize::MAX);
    let epochs = if config.steps.is_some() {
        usize::MAX
    } else {
        config.epochs
    };
    for epoch in 0..epochs {
        let order = if config.no_shuffle {
            (0..train.len()).collect()
        } else {
            SplitMix64::seeded(config.seed ^ (epoch as u64 + 1).wrapping_mul(0x9e37_79b9))
                .order(train.len())
        };
        match (config.batch_pairs, config.batch_tokens) {
            (_, Some(tokens)) => {
                let sizes = order.iter().map(|&place| train[place].tokens());
                let ranges = by_tokens(sizes, tokens);
                plan.extend(ranges.into_iter().map(|range| order[range].to_vec()));
            }
            (pairs, None) => {
                let pairs = pairs.unwrap_or(1).max(1);
                plan.extend(order.chunks(pairs).map(<[usize]>::to_vec));
            }
        }
        if plan.len() >= most {
            plan.truncate(most);
            break;
        }
    }
    plan
}
