//! Closer than people: how often two stories of a model are closer to each other than two people's stories to the
//! same prompt.
//!
//! At a prompt it is the probability P(d(m, m') < d(h, h')) over all pairs of a model's stories m, m' and all
//! pairs of people's stories h, h', where d = 1 - cosine and a tie counts 1/2 (probability of superiority, the
//! Mann-Whitney statistic over the number of pairs). It is averaged over prompts. 50 % is as diverse as people;
//! people compared with other people give 50 %. The contrast (are two model texts more alike than two people's to
//! the same prompt?) is that of arXiv 2606.17350, as described there in short; the estimator and its interval
//! are chosen here.

use rayon::prelude::*;
use serde::Serialize;

use crate::cosines::cosines;
use crate::evaluation::Evaluation;
use crate::outputs::GOLD;
use crate::space::Space;
use crate::stats::bootstrap::BootstrapCache;
use crate::stats::mean::mean;

/// Distances that differ by less are a tie: equal texts have distance 0 up to rounding.
const TIE: f64 = 1e-12;

/// How often two stories, of one model or of two, are closer than two people's to the same prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CloserThanPeople {
    /// The embedding space: `semantic` or `style`.
    pub space: &'static str,
    /// The model of the first story.
    pub a: String,
    /// The model of the second story; equal to `a` for two stories of one model.
    pub b: String,
    /// The number of prompts that the mean is over: those with two stories by people, and of the models.
    pub prompts: usize,
    /// The mean over prompts of the share, 0 to 1.
    pub share: f64,
    /// The lower end of the 95 % bootstrap confidence interval, resampled over prompts.
    pub ci_low: Option<f64>,
    /// The upper end of that confidence interval.
    pub ci_high: Option<f64>,
}

/// The shares of every model, and of every two models, by space. Empty without people's stories or embeddings.
pub fn closer_than_people(
    evaluation: &Evaluation<'_>,
    bootstrap: &BootstrapCache,
) -> Vec<CloserThanPeople> {
    let models = &evaluation.models;
    let Some(people) = models.iter().position(|name| name == GOLD) else {
        return Vec::new();
    };
    let pairs: Vec<(usize, usize)> = pairs_of(models.len(), people).collect();
    let mut results = Vec::new();
    for space in Space::ALL {
        let at_prompt = |prompt: usize| {
            let cells = evaluation.cells.iter().map(|row| row[prompt].as_ref());
            let groups = cells.map(|cell| {
                let vectors = cell.and_then(|cell| cell.vectors.get(space).as_ref());
                let runs = vectors.into_iter().flatten().enumerate();
                let stories = runs.flat_map(|(run, vectors)| {
                    vectors.iter().map(move |row| Story {
                        run,
                        vector: row.values(),
                    })
                });
                stories.collect()
            });
            shares(&groups.collect::<Vec<Vec<Story<'_>>>>(), people)
        };
        let prompts = (0..evaluation.prompts.len()).into_par_iter();
        let by_prompt: Vec<Vec<Option<f64>>> = prompts.map(at_prompt).collect();
        for (at, &(a, b)) in pairs.iter().enumerate() {
            let shares: Vec<f64> = by_prompt.iter().filter_map(|shares| shares[at]).collect();
            if shares.is_empty() {
                continue;
            }
            let n = shares.len();
            let interval = (n > 1)
                .then(|| bootstrap.indices(n).mean_interval(&shares))
                .flatten();
            results.push(CloserThanPeople {
                space: space.name(),
                a: models[a].clone(),
                b: models[b].clone(),
                prompts: n,
                share: mean(&shares),
                ci_low: interval.map(|interval| interval[0].max(0.0)),
                ci_high: interval.map(|interval| interval[1].min(1.0)),
            });
        }
    }
    results
}

/// The pairs of groups that are compared: every group with itself and with each later one, without people.
fn pairs_of(groups: usize, people: usize) -> impl Iterator<Item = (usize, usize)> {
    let is_model = move |group: &usize| *group != people;
    let firsts = (0..groups).filter(is_model);
    firsts.flat_map(move |a| (a..groups).filter(is_model).map(move |b| (a, b)))
}

/// The embedding of a story, with the training run of the model that wrote it.
#[derive(Debug, Clone, Copy)]
struct Story<'a> {
    run: usize,
    vector: &'a [f32],
}

/// The share of every pair of groups at one prompt, in the order of [`pairs_of`]. `groups` are the stories by
/// model; the group `people` is the reference. Two stories of one model are of the same run. `None` where a side
/// has no pair of stories.
fn shares(groups: &[Vec<Story<'_>>], people: usize) -> Vec<Option<f64>> {
    let stories: Vec<Story<'_>> = groups.iter().flatten().copied().collect();
    let all: Vec<&[f32]> = stories.iter().map(|story| story.vector).collect();
    let matrix = cosines(&all);
    let starts: Vec<usize> = groups
        .iter()
        .scan(0, |next, group| {
            let start = *next;
            *next += group.len();
            Some(start)
        })
        .collect();
    let range = |group: usize| starts[group]..starts[group] + groups[group].len();
    let distances = |a: usize, b: usize| -> Vec<f64> {
        let of_first = |i: usize| {
            let rest = if a == b {
                i + 1..range(b).end
            } else {
                range(b)
            };
            rest.map(move |j| (i, j))
        };
        let is_pair = |(i, j): &(usize, usize)| a != b || stories[*i].run == stories[*j].run;
        let pairs = range(a).flat_map(of_first).filter(is_pair);
        pairs
            .map(|(i, j)| 1.0 - matrix[i * all.len() + j])
            .collect()
    };
    let mut reference = distances(people, people);
    reference.sort_unstable_by(f64::total_cmp);
    let pairs = pairs_of(groups.len(), people);
    pairs
        .map(|(a, b)| share_closer(&distances(a, b), &reference))
        .collect()
}

/// The probability that a value of `distances` is smaller than a value of `reference`, a tie counting 1/2.
/// `reference` is sorted. `None` if one of them is empty.
fn share_closer(distances: &[f64], reference: &[f64]) -> Option<f64> {
    if distances.is_empty() || reference.is_empty() {
        return None;
    }
    let wins = distances.iter().map(|distance| {
        let below = reference.partition_point(|other| *other < distance - TIE);
        let up_to = reference.partition_point(|other| *other <= distance + TIE);
        let ties = up_to - below;
        (reference.len() - up_to) as f64 + ties as f64 / 2.0
    });
    Some(wins.sum::<f64>() / (distances.len() * reference.len()) as f64)
}

#[cfg(test)]
mod tests {
    use polyphony_io::random::SplitMix64;
    use serde_json::Value;

    use super::*;
    use crate::stats::mean::se;

    /// Stories of one run.
    fn stories(vectors: &[Vec<f32>]) -> Vec<Story<'_>> {
        let story = |vector| Story { run: 0, vector };
        vectors
            .iter()
            .map(|vector| story(vector.as_slice()))
            .collect()
    }

    /// Two runs that each write one story over and over, but not the same.
    #[test]
    fn stories_of_different_runs_are_no_pairs() {
        let [one, other, third] = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]];
        let story = |run, vector| Story { run, vector };
        let model = vec![
            story(0, &one[..]),
            story(0, &one),
            story(1, &other),
            story(1, &other),
        ];
        let people = vec![story(0, &one[..]), story(0, &third)];
        assert_eq!(shares(&[model.clone(), people.clone()], 1), [Some(1.0)]);
        let as_one = model
            .iter()
            .map(|story| Story { run: 0, ..*story })
            .collect();
        assert_eq!(shares(&[as_one, people], 1), [Some(2.0 / 6.0)]);
    }

    /// Shares that a script computes with numpy (`tests/peers/closer_than_people.py`).
    #[test]
    fn shares_equal_those_of_numpy() {
        let golden = include_str!("../../../tests/fixtures/closer_than_people.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let prompts = golden["prompts"].as_array().unwrap();
        assert!(prompts.len() > 4);
        let list = |value: &'_ Value| value.as_array().unwrap().clone();
        let mut ties = 0;
        for prompt in prompts {
            let groups: Vec<Vec<Vec<f32>>> = list(&prompt["groups"])
                .iter()
                .map(|group| {
                    let rows = list(group);
                    let row = |row: &Value| -> Vec<f32> {
                        let values = list(row);
                        values.iter().map(|x| x.as_f64().unwrap() as f32).collect()
                    };
                    rows.iter().map(row).collect()
                })
                .collect();
            let stories: Vec<Vec<Story<'_>>> = groups.iter().map(|group| stories(group)).collect();
            let ours = shares(&stories, groups.len() - 1);
            let theirs = list(&prompt["shares"]);
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours.is_none(), theirs.is_null());
                if let (Some(ours), Some(theirs)) = (ours, theirs.as_f64()) {
                    assert!((ours - theirs).abs() < 1e-12, "{ours} is not {theirs}");
                }
            }
            ties += prompt["ties"].as_u64().unwrap();
        }
        assert!(ties > 0, "the fixture has ties");
    }

    /// People against other people: half of the stories to each prompt stand for a model.
    #[test]
    fn people_are_as_diverse_as_people() {
        let mut random = SplitMix64(3);
        let mut value = || (random.below(2001) as f32 - 1000.0) / 1000.0;
        let share = |spread: f32, value: &mut dyn FnMut() -> f32| {
            let vectors: Vec<Vec<f32>> = (0..8)
                .map(|at| {
                    // Some prompts draw stories that are alike; the stories share a direction.
                    let scale = if at < 4 { spread } else { 1.0 };
                    (0..6).map(|_| 1.0 + scale * value()).collect()
                })
                .collect();
            shares(&[stories(&vectors[..4]), stories(&vectors[4..])], 1)[0].unwrap()
        };
        let halves: Vec<f64> = (0..400).map(|_| share(1.0, &mut value)).collect();
        assert!(
            (mean(&halves) - 0.5).abs() < 3.0 * se(&halves),
            "{}",
            mean(&halves)
        );
        assert!(se(&halves) < 0.02);
        // A model whose stories differ less is found out.
        let narrow: Vec<f64> = (0..400).map(|_| share(0.5, &mut value)).collect();
        assert!(mean(&narrow) > 0.8, "{}", mean(&narrow));
    }

    #[test]
    fn ties_count_one_half() {
        assert_eq!(share_closer(&[0.0], &[0.0, 0.0]), Some(0.5));
        assert_eq!(share_closer(&[0.1, 0.3], &[0.2]), Some(0.5));
        assert_eq!(share_closer(&[0.2, 0.1], &[0.2, 0.2]), Some(0.75));
        assert_eq!(share_closer(&[], &[0.2]), None);
        assert_eq!(share_closer(&[0.2], &[]), None);
    }
}
