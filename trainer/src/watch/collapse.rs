//! Collapse: a policy whose texts loop, or which says the same thing to a prompt again and again.

use super::SampleMeasures;

/// The thresholds of a collapse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CollapseThresholds {
    /// The share of looping texts above which a policy has collapsed, 0 to 1.
    pub looping: f64,
    /// The share of its start's value below which `distinct_2`, `semantic` or `style` is a collapse, 0 to 1.
    pub diversity: f64,
}

impl CollapseThresholds {
    /// What has collapsed, with value and threshold; none where nothing has. `start` are the measures before the
    /// first step.
    ///
    /// A start that loops already is not a collapse of the training, so its share is the least threshold.
    pub fn collapse(&self, start: &SampleMeasures, now: &SampleMeasures) -> Option<String> {
        let looping = self.looping.max(start.looping);
        if now.looping > looping {
            return Some(format!(
                "{:.2} of the texts loop, above {looping:.2}",
                now.looping
            ));
        }
        let measures = [
            ("distinct-2", start.distinct_2, now.distinct_2),
            ("semantic distance", start.semantic, now.semantic),
            ("style distance", start.style, now.style),
        ];
        measures.into_iter().find_map(|(name, start, now)| {
            let bound = self.diversity * start;
            (now < bound).then(|| {
                let share = self.diversity;
                format!("{name} {now:.3} is below {bound:.3}, {share} of its start")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SampleMeasures = SampleMeasures {
        compression_ratio: 1.5,
        distinct_2: 0.9,
        semantic: 0.6,
        style: 0.2,
        looping: 0.0,
        reward: None,
    };
    const THRESHOLDS: CollapseThresholds = CollapseThresholds {
        looping: 0.5,
        diversity: 0.5,
    };

    #[test]
    fn each_threshold_is_named() {
        let of = |now: SampleMeasures| THRESHOLDS.collapse(&START, &now);
        assert_eq!(of(START), None);
        let at = SampleMeasures {
            looping: 0.5,
            distinct_2: 0.45,
            semantic: 0.3,
            style: 0.1,
            ..START
        };
        assert_eq!(of(at), None);
        for (now, expected) in [
            (
                SampleMeasures {
                    looping: 0.75,
                    ..START
                },
                "0.75 of the texts loop, above 0.50",
            ),
            (
                SampleMeasures {
                    distinct_2: 0.2,
                    ..START
                },
                "distinct-2 0.200 is below 0.450, 0.5 of its start",
            ),
            (
                SampleMeasures {
                    semantic: 0.1,
                    ..START
                },
                "semantic distance 0.100 is below 0.300, 0.5 of its start",
            ),
            (
                SampleMeasures {
                    style: 0.01,
                    ..START
                },
                "style distance 0.010 is below 0.100, 0.5 of its start",
            ),
        ] {
            assert_eq!(of(now).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_start_that_loops_is_no_collapse() {
        let start = SampleMeasures {
            looping: 0.8,
            ..START
        };
        assert_eq!(THRESHOLDS.collapse(&start, &start), None);
        let now = SampleMeasures {
            looping: 0.9,
            ..START
        };
        assert!(THRESHOLDS.collapse(&start, &now).is_some());
    }
}
