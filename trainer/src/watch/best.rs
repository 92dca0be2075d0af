//! Best step of a watched run: the most diverse of those whose reward is not below the start's.

use super::SampleMeasures;

/// Whether `now` is the best on the plane of reward and diversity, given the measures of the start and of the
/// earlier steps: its reward is at least the start's and no earlier such step is as diverse. While no step reaches
/// the start's reward, the highest reward is the best. Without rewards there is no best.
pub fn is_best(start: &SampleMeasures, earlier: &[SampleMeasures], now: &SampleMeasures) -> bool {
    let (Some(bound), Some(reward)) = (start.reward, now.reward) else {
        return false;
    };
    // Steps that keep the start's reward come before all others; then diversity, or else the reward, decides.
    let rank = |measures: &SampleMeasures, reward: f64| {
        let keeps = reward >= bound;
        let value = if keeps { measures.diversity() } else { reward };
        (u8::from(keeps), value)
    };
    let own = rank(now, reward);
    let mut others = earlier
        .iter()
        .filter_map(|other| Some(rank(other, other.reward?)));
    others.all(|other| own > other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(reward: f64, diversity: f64) -> SampleMeasures {
        SampleMeasures {
            compression_ratio: 1.0,
            distinct_2: 1.0,
            semantic: diversity,
            style: diversity,
            looping: 0.0,
            reward: Some(reward),
        }
    }

    #[test]
    fn diversity_decides_among_steps_that_keep_the_reward() {
        let start = at(0.5, 0.3);
        assert!(is_best(&start, &[], &at(0.4, 0.9)));
        assert!(is_best(&start, &[at(0.4, 0.9)], &at(0.5, 0.1)));
        assert!(is_best(&start, &[at(0.6, 0.2)], &at(0.5, 0.25)));
        assert!(!is_best(&start, &[at(0.6, 0.2)], &at(0.9, 0.2)));
        assert!(!is_best(&start, &[at(0.6, 0.2)], &at(0.49, 0.9)));
        assert!(is_best(&start, &[at(0.3, 0.9)], &at(0.4, 0.1)));
        let none = SampleMeasures {
            reward: None,
            ..start
        };
        assert!(!is_best(&none, &[], &none));
    }
}
