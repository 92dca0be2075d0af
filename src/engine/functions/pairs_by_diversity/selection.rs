//! Pair selection by marginal diversity: among responses of similar votes the more diverse one wins.
//!
//! `ReDiPO` (Samuel et al. 2026, "Recovering Diversity Without Losing Alignment"; its code:
//! `select_pairs.py`, mode `epsilon`). Pairs whose scores differ by at most epsilon are ranked by the
//! difference of their diversities. A pass from the largest difference on keeps a pair while both of its
//! responses are in fewer than `n_cap` kept pairs. Of the kept ones the first `top_quantile` remain.

/// A response of a prompt: its score and its marginal diversity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The score (votes).
    pub score: f64,
    /// The marginal diversity.
    pub diversity: f64,
}

/// The thresholds of the selection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// The maximum difference of the scores of a pair, 0 or more.
    pub epsilon: f64,
    /// The maximum number of pairs of a response.
    pub n_cap: usize,
    /// The fraction of pairs that remain, in (0, 1], rounded up to a number of pairs.
    pub top_quantile: f64,
}

/// Pairs `(chosen, rejected)` of indices into `responses`, the largest difference of diversities first;
/// equal differences keep the order of the responses. Where diversities are equal the higher score wins;
/// a pair of equal diversities and scores is none.
///
/// Time O(n^2 log n), memory 16 bytes for each pair of similar scores.
///
/// ```
/// use polyphony_engine::functions::pairs_by_diversity::selection::{Scored, Thresholds, pairs};
/// let scored = |score, diversity| Scored { score, diversity };
/// let responses = [scored(9.0, 0.2), scored(5.0, 0.7), scored(7.0, 0.4)];
/// let thresholds = Thresholds { epsilon: 2.0, n_cap: 4, top_quantile: 1.0 };
/// assert_eq!(pairs(&responses, thresholds), [(1, 2), (2, 0)]);
/// ```
pub fn pairs(responses: &[Scored], thresholds: Thresholds) -> Vec<(usize, usize)> {
    let mut similar: Vec<(f64, u32, u32)> = Vec::new();
    for (i, a) in (0..).zip(responses) {
        for (j, b) in (i + 1..).zip(&responses[i as usize + 1..]) {
            let difference = (a.diversity - b.diversity).abs();
            let is_ordered = difference > 0.0 || a.score != b.score;
            if (a.score - b.score).abs() <= thresholds.epsilon && is_ordered {
                similar.push((difference, i, j));
            }
        }
    }
    // The sort is stable: pairs of equal differences stay in the order of the responses.
    similar.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut uses = vec![0; responses.len()];
    let mut kept = Vec::new();
    for (_, i, j) in similar {
        let (i, j) = (i as usize, j as usize);
        if uses[i] < thresholds.n_cap && uses[j] < thresholds.n_cap {
            uses[i] += 1;
            uses[j] += 1;
            kept.push((i, j));
        }
    }
    let remaining = (thresholds.top_quantile * kept.len() as f64).ceil() as usize;
    kept.truncate(remaining);
    let order = |(i, j): (usize, usize)| {
        let (a, b) = (responses[i], responses[j]);
        let first_wins =
            a.diversity > b.diversity || (a.diversity == b.diversity && a.score > b.score);
        if first_wins { (i, j) } else { (j, i) }
    };
    kept.into_iter().map(order).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(values: &[(f64, f64)]) -> Vec<Scored> {
        let scored = |&(score, diversity)| Scored { score, diversity };
        values.iter().map(scored).collect()
    }

    #[test]
    fn a_response_is_in_at_most_n_cap_pairs_and_the_top_is_rounded_up() {
        let responses = scored(&[(1.0, 0.9), (1.0, 0.1), (1.0, 0.2), (1.0, 0.3)]);
        let thresholds = |n_cap, top_quantile| Thresholds {
            epsilon: 0.0,
            n_cap,
            top_quantile,
        };
        assert_eq!(pairs(&responses, thresholds(1, 1.0)), [(0, 1), (3, 2)]);
        assert_eq!(pairs(&responses, thresholds(2, 0.01)), [(0, 1)]);
        assert_eq!(pairs(&responses, thresholds(3, 0.5)).len(), 3);
    }

    #[test]
    fn equal_diversities_are_ordered_by_score_or_not_at_all() {
        let all = Thresholds {
            epsilon: 5.0,
            n_cap: 9,
            top_quantile: 1.0,
        };
        assert_eq!(pairs(&scored(&[(1.0, 0.5), (2.0, 0.5)]), all), [(1, 0)]);
        assert!(pairs(&scored(&[(1.0, 0.5), (1.0, 0.5)]), all).is_empty());
        assert!(pairs(&scored(&[(1.0, 0.5), (6.5, 0.2)]), all).is_empty());
        assert!(pairs(&[], all).is_empty());
    }
}
