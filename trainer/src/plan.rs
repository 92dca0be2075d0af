//! Which examples does each step take?

use crate::config::Config;
use crate::data::Example;
use crate::pass::by_tokens;
use polyphony_io::random::SplitMix64;

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
            SplitMix64::seed_from_u64(config.seed ^ (epoch as u64 + 1).wrapping_mul(0x9e37_79b9))
                .permutation(train.len())
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

#[cfg(test)]
mod tests {
    use polyphony_model::chat::Tokens;

    use super::*;
    use crate::config::Settings;
    use crate::objective::Method;

    /// Examples of one text each, of so many tokens.
    fn examples(sizes: &[usize]) -> Vec<Example> {
        let example = |(row, &size): (usize, &usize)| Example {
            chosen: Tokens {
                ids: vec![0; size],
                prompt: 1,
            },
            rejected: None,
            weight: 1.0,
            score: 0.0,
            prompt: 0,
            row,
        };
        sizes.iter().enumerate().map(example).collect()
    }

    fn config(more: Settings) -> Config {
        let named = Settings {
            model: Some("m".to_owned()),
            pairs: Some("p".into()),
            out: Some("o".into()),
            ..more
        };
        named.resolve(None, Method::Sft).unwrap()
    }

    #[test]
    fn batches_hold_so_many_tokens() {
        let config = config(Settings {
            batch_tokens: Some(6),
            epochs: Some(2),
            no_shuffle: Some(true),
            ..Settings::default()
        });
        let plan = plan(&config, &examples(&[3, 3, 5, 1, 9, 1]));
        let epoch = [vec![0, 1], vec![2, 3], vec![4], vec![5]];
        assert_eq!(plan, [&epoch[..], &epoch].concat());
    }

    #[test]
    fn every_epoch_has_an_order_of_its_own_and_all_of_it() {
        let config = config(Settings {
            batch_pairs: Some(4),
            epochs: Some(2),
            ..Settings::default()
        });
        let train = examples(&[1; 10]);
        let made = plan(&config, &train);
        assert_eq!(
            made.iter().map(Vec::len).collect::<Vec<_>>(),
            [4, 4, 2, 4, 4, 2]
        );
        let (first, second) = (made[..3].concat(), made[3..].concat());
        assert_ne!(first, second);
        for mut epoch in [first, second] {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(plan(&config, &train), made);
    }
}
