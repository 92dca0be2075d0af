//! Pair sampling by vote gap: the distribution of the reference code, seeded, without its O(n^2) cost
//! per draw.
//!
//! The reference (DiversityTuning, `2_data_prep_to_preference.py`, `sample_pairs_with_gap`) lists all
//! pairs of remaining responses whose votes differ by at least the gap, picks one uniformly, removes
//! both responses, and repeats; when the list is empty it lists the pairs whose votes differ at all.
//! This code samples from the same distribution without the list. It first uses rejection sampling: it
//! draws two responses until their votes differ enough. When rejections become frequent, it groups the
//! responses by votes, draws the winner's group in proportion to its number of pairs, then a winner and
//! a loser.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use polyphony_io::hash::{fnv1a, mix64};
use polyphony_io::random::SplitMix64;

/// The maximum number of tries of rejection sampling before the exact draw. All of them fail only when
/// few pairs have the gap.
const TRIES: usize = 32;

/// Pairs `(chosen, rejected)` of indices into `responses`, which are `(id, votes)`. The result does not
/// depend on the order of `responses`. With a gap of 0 or less, all pairs whose votes differ have the gap.
///
/// ```
/// let responses = [("a".to_owned(), 9.0), ("b".to_owned(), 2.0), ("c".to_owned(), 2.0)];
/// let pairs = polyphony_engine::functions::pairs_by_gap::sampling::pairs(&responses, 5.0, 42);
/// assert_eq!(pairs.len(), 1);
/// assert_eq!(pairs[0].0, 0);
/// ```
pub fn pairs(responses: &[(String, f64)], gap: f64, seed: i64) -> Vec<(usize, usize)> {
    let mut rows: Vec<usize> = (0..responses.len()).collect();
    let key = |row: &usize| (responses[*row].0.as_str(), Votes(responses[*row].1));
    rows.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    let mut random = Random::new(rows.iter().map(|row| responses[*row].0.as_str()), seed);
    let mut pairs = Vec::new();
    while let Some((high, low)) = rejection_sample(responses, &rows, gap, &mut random) {
        pairs.push((rows[high], rows[low]));
        rows.swap_remove(high.max(low));
        rows.swap_remove(high.min(low));
    }
    let mut by_votes: BTreeMap<Votes, Vec<usize>> = BTreeMap::new();
    for row in rows {
        by_votes
            .entry(Votes(responses[row].1))
            .or_default()
            .push(row);
    }
    for gap in [gap, 0.0] {
        while let Some((high, low)) = draw(&by_votes, gap, &mut random) {
            pairs.push((
                take(&mut by_votes, high, &mut random),
                take(&mut by_votes, low, &mut random),
            ));
        }
    }
    pairs
}

/// Votes or rewards in the order of `f64::total_cmp`; -0 equals 0.
#[derive(Debug, Clone, Copy)]
struct Votes(f64);

impl Ord for Votes {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0 + 0.0).total_cmp(&(other.0 + 0.0))
    }
}

impl PartialOrd for Votes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Votes {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Votes {}

/// Whether the winner's votes exceed the loser's, by at least the gap.
fn has_gap(winner: f64, loser: f64, gap: f64) -> bool {
    winner > loser && winner - loser >= gap
}

/// Rejection sampling: indices of two responses whose votes differ by the gap, the winner first,
/// uniform over all pairs with the gap; `None` after too many rejections.
fn rejection_sample(
    responses: &[(String, f64)],
    rows: &[usize],
    gap: f64,
    random: &mut Random,
) -> Option<(usize, usize)> {
    (0..TRIES).find_map(|_| {
        let a = random.below(rows.len() as u64)? as usize;
        let b = random.below(rows.len() as u64)? as usize;
        has_gap(responses[rows[a]].1, responses[rows[b]].1, gap).then_some((a, b))
    })
}

/// Exact draw: the votes of a winner and of a loser, distributed as in a uniform draw from all pairs
/// with the gap. One pass over the distinct votes, so the cost does not grow with the number of
/// responses.
fn draw(
    by_votes: &BTreeMap<Votes, Vec<usize>>,
    gap: f64,
    random: &mut Random,
) -> Option<(Votes, Votes)> {
    let groups: Vec<(Votes, u64)> = by_votes
        .iter()
        .map(|(votes, rows)| (*votes, rows.len() as u64))
        .collect();
    let mut low = 0;
    let mut losers = 0;
    let weights: Vec<(Votes, u64, u64)> = groups
        .iter()
        .map(|(votes, count)| {
            while has_gap(votes.0, groups[low].0.0, gap) {
                losers += groups[low].1;
                low += 1;
            }
            (*votes, count * losers, losers)
        })
        .collect();
    let total = weights.iter().map(|(_, weight, _)| weight).sum::<u64>();
    let mut offset = random.below(total)?;
    let (high, _, losers) = *weights.iter().find(|(_, weight, _)| {
        let in_group = offset < *weight;
        if !in_group {
            offset -= weight;
        }
        in_group
    })?;
    let mut offset = random.below(losers)?;
    let (low, _) = groups.iter().find(|(_, count)| {
        let in_group = offset < *count;
        if !in_group {
            offset -= count;
        }
        in_group
    })?;
    Some((high, *low))
}

/// Removes and returns a random response with these votes.
fn take(by_votes: &mut BTreeMap<Votes, Vec<usize>>, votes: Votes, random: &mut Random) -> usize {
    let Some(rows) = by_votes.get_mut(&votes) else {
        return 0;
    };
    let index = random.below(rows.len() as u64).unwrap_or_default();
    let row = rows.swap_remove(index as usize);
    if rows.is_empty() {
        by_votes.remove(&votes);
    }
    row
}

/// Random numbers, seeded by the random seed and the response ids.
struct Random(SplitMix64);

impl Random {
    fn new<'a>(ids: impl Iterator<Item = &'a str>, seed: i64) -> Self {
        let start = mix64(seed.cast_unsigned());
        let start = ids.fold(start, |state, id| mix64(state ^ fnv1a(id.as_bytes())));
        Self(SplitMix64(start))
    }

    /// A uniform number below `bound`, without bias (Lemire 2019); `None` if `bound` is 0.
    fn below(&mut self, bound: u64) -> Option<u64> {
        let threshold = bound.wrapping_neg().checked_rem(bound)?;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return Some((product >> 64) as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(votes: &[f64]) -> Vec<(String, f64)> {
        votes
            .iter()
            .enumerate()
            .map(|(i, votes)| (format!("r{i}"), *votes))
            .collect()
    }

    #[test]
    fn pairs_with_the_gap_come_before_the_fallback() {
        let responses = named(&[1.0, 2.0, 10.0, 11.0]);
        let sampled = pairs(&responses, 5.0, 1);
        assert_eq!(sampled.len(), 2);
        assert!(
            sampled
                .iter()
                .all(|(chosen, rejected)| *chosen >= 2 && *rejected < 2)
        );
        assert_eq!(pairs(&named(&[3.0, 4.0]), 5.0, 1), [(1, 0)]);
        assert_eq!(pairs(&named(&[3.0, 3.0, 3.0]), 5.0, 1), []);
        assert_eq!(pairs(&[], 5.0, 1), []);
    }

    #[test]
    fn rewards_are_compared_as_fractions() {
        assert_eq!(pairs(&named(&[0.25, 0.5]), 0.25, 1), [(1, 0)]);
        let sampled = pairs(&named(&[0.1, 0.2, 0.9, 1.0]), 0.5, 3);
        assert!(
            sampled
                .iter()
                .all(|(chosen, rejected)| *chosen >= 2 && *rejected < 2)
        );
        assert_eq!(pairs(&named(&[0.0, -0.0]), 0.0, 1), []);
    }

    #[test]
    fn every_pair_is_sampled_equally_often() {
        // First pairs for votes 0, 0, 5, 6, 7 with gap 5: six possible pairs.
        let responses = named(&[0.0, 0.0, 5.0, 6.0, 7.0]);
        let mut counts: BTreeMap<(usize, usize), u32> = BTreeMap::new();
        for seed in 0..6000 {
            *counts.entry(pairs(&responses, 5.0, seed)[0]).or_default() += 1;
        }
        assert_eq!(counts.len(), 6);
        // 1,000 expected each, standard deviation 29: a tolerance of five standard deviations.
        assert!(
            counts.values().all(|count| count.abs_diff(1000) < 145),
            "{counts:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn pairs_are_disjoint_ordered_and_exhaustive(
            votes in prop::collection::vec(-5_i64..40, 0..60),
            gap in 0_i64..12,
            seed: i64,
        ) {
            let votes: Vec<f64> = votes.into_iter().map(|votes| votes as f64 / 4.0).collect();
            let responses = named(&votes);
            let sampled = pairs(&responses, gap as f64 / 4.0, seed);
            let mut used: Vec<usize> = sampled.iter().flat_map(|(a, b)| [*a, *b]).collect();
            used.sort_unstable();
            prop_assert!(used.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(sampled.iter().all(|(chosen, rejected)| votes[*chosen] > votes[*rejected]));
            let rest: Vec<f64> =
                (0..votes.len()).filter(|row| !used.contains(row)).map(|row| votes[row]).collect();
            prop_assert!(rest.iter().all(|vote| *vote == rest[0]));
        }

        #[test]
        fn result_does_not_depend_on_the_order_of_rows(
            votes in prop::collection::vec(0_i64..20, 0..30),
            seed: i64,
        ) {
            let votes: Vec<f64> = votes.into_iter().map(|votes| votes as f64).collect();
            let responses = named(&votes);
            let mut reversed = responses.clone();
            reversed.reverse();
            let names = |rows: &[(String, f64)]| -> Vec<(String, String)> {
                pairs(rows, 5.0, seed)
                    .into_iter()
                    .map(|(a, b)| (rows[a].0.clone(), rows[b].0.clone()))
                    .collect()
            };
            prop_assert_eq!(names(&responses), names(&reversed));
        }
    }
}
