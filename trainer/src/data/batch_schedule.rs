//! Batch schedule (data loader): which examples each step takes, shuffled in each epoch by the random seed.

use polyphony_io::random::SplitMix64;

use super::batch::split_by_tokens;
use super::example::Example;

/// The batch size: how many examples a step takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// A number of examples.
    Examples(usize),
    /// As many examples as fit a number of tokens, at least one.
    Tokens(usize),
}

/// The length of a training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duration {
    /// A number of passes over all examples.
    Epochs(usize),
    /// A number of steps, over as many epochs as it takes.
    Steps(usize),
}

/// The examples of each step, as indices. `shuffle_seed` shuffles each epoch in its own order; without it
/// examples keep the order of the file.
pub fn batch_schedule(
    train: &[Example],
    batch_size: BatchSize,
    duration: Duration,
    shuffle_seed: Option<u64>,
) -> Vec<Vec<usize>> {
    let mut schedule = Vec::new();
    let (epochs, max_steps) = match duration {
        Duration::Epochs(epochs) => (epochs, usize::MAX),
        Duration::Steps(steps) => (usize::MAX, steps),
    };
    for epoch in 0..epochs {
        let order = match shuffle_seed {
            None => (0..train.len()).collect(),
            Some(seed) => {
                // The order of an epoch depends on the random seed and the epoch's number only.
                SplitMix64::seed_from_u64(seed ^ (epoch as u64 + 1).wrapping_mul(0x9e37_79b9))
                    .permutation(train.len())
            }
        };
        match batch_size {
            BatchSize::Tokens(tokens) => {
                let sizes = order.iter().map(|&index| train[index].tokens());
                let ranges = split_by_tokens(sizes, tokens);
                schedule.extend(ranges.into_iter().map(|range| order[range].to_vec()));
            }
            BatchSize::Examples(count) => {
                schedule.extend(order.chunks(count.max(1)).map(<[usize]>::to_vec));
            }
        }
        if schedule.len() >= max_steps {
            schedule.truncate(max_steps);
            break;
        }
    }
    schedule
}

#[cfg(test)]
mod tests {
    use polyphony_model::chat::PromptCompletion;

    use super::*;

    /// Examples of one text each; `sizes` are their numbers of tokens.
    fn examples(sizes: &[usize]) -> Vec<Example> {
        let example = |(row, &size): (usize, &usize)| Example {
            chosen: PromptCompletion {
                ids: vec![0; size],
                prompt_len: 1,
            },
            rejected: None,
            weight: 1.0,
            score: 0.0,
            prompt_hash: 0,
            row,
        };
        sizes.iter().enumerate().map(example).collect()
    }

    #[test]
    fn batches_by_tokens_stay_within_the_limit() {
        let train = examples(&[3, 3, 5, 1, 9, 1]);
        let schedule = batch_schedule(&train, BatchSize::Tokens(6), Duration::Epochs(2), None);
        let epoch = [vec![0, 1], vec![2, 3], vec![4], vec![5]];
        assert_eq!(schedule, [&epoch[..], &epoch].concat());
    }

    #[test]
    fn a_number_of_steps_ends_within_an_epoch() {
        let train = examples(&[1; 3]);
        let schedule = batch_schedule(&train, BatchSize::Examples(2), Duration::Steps(3), None);
        assert_eq!(schedule, [vec![0, 1], vec![2], vec![0, 1]]);
    }

    #[test]
    fn each_epoch_is_shuffled_differently_and_has_every_example() {
        let train = examples(&[1; 10]);
        let make = |seed| {
            batch_schedule(
                &train,
                BatchSize::Examples(4),
                Duration::Epochs(2),
                Some(seed),
            )
        };
        let schedule = make(42);
        assert_eq!(
            schedule.iter().map(Vec::len).collect::<Vec<_>>(),
            [4, 4, 2, 4, 4, 2]
        );
        let (first, second) = (schedule[..3].concat(), schedule[3..].concat());
        assert_ne!(first, second);
        for mut epoch in [first, second] {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(make(42), schedule);
        assert_ne!(make(43), schedule);
    }
}
