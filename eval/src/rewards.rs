//! Rewards: read from a column or computed by a reward model, with checks that those of different files are
//! comparable.

use std::path::Path;

use polyphony_engine::{Error, Result};
use polyphony_io::progress::{Progress, Unit};
use polyphony_model::reward::RewardModel;

use crate::config::RewardSource;
use crate::outputs::{Input, Output};
use crate::stats::bootstrap::percentile;

/// The reward of each text; `None` where the column has no value, or the reward model has no prompt to score
/// the text against.
///
/// # Errors
/// When the reward model cannot be loaded, or its forward pass fails.
pub fn rewards(
    rows: &[&Output],
    source: &RewardSource,
    progress: &dyn Progress,
) -> Result<Vec<Option<f64>>> {
    /// The number of texts per call of the reward model; the progress is updated after each.
    const BATCH: usize = 256;
    match source {
        RewardSource::None => Ok(vec![None; rows.len()]),
        RewardSource::Column(_) => Ok(rows.iter().map(|row| row.score).collect()),
        RewardSource::Model(name, device) => {
            let model = RewardModel::load_cached(name, *device)?;
            let mut rewards = Vec::with_capacity(rows.len());
            progress.start("computing rewards", Some(rows.len() as u64), Unit::Rows);
            for part in rows.chunks(BATCH) {
                // A reward model scores a text as a response to its prompt: without a prompt there is no reward.
                let has_prompt = |row: &&&Output| !row.prompt.is_empty();
                let pairs: Vec<(&str, &str)> = part
                    .iter()
                    .filter(has_prompt)
                    .map(|row| (row.prompt.as_str(), row.response.as_str()))
                    .collect();
                let mut batch = model.rewards(&pairs)?.into_iter();
                rewards.extend(part.iter().map(|row| {
                    let reward = has_prompt(&row).then(|| batch.next()).flatten();
                    reward.map(f64::from)
                }));
                progress.set_position(rewards.len() as u64);
            }
            progress.finish();
            Ok(rewards)
        }
    }
}

/// The name of the score column, if some file has scores.
///
/// # Errors
/// When the score columns or the reward models of two files differ: such rewards are not comparable.
pub fn shared_score(inputs: &[Input]) -> Result<Option<String>> {
    let mut named = inputs
        .iter()
        .filter_map(|input| Some((input, input.score.as_ref()?)));
    let Some((first, name)) = named.next() else {
        return Ok(None);
    };
    let mut with_model = inputs
        .iter()
        .filter(|input| input.score.is_some())
        .filter_map(|input| Some((input, input.reward_model.as_ref()?)));
    if let Some((one, first_model)) = with_model.next()
        && let Some((other, other_model)) = with_model.find(|(_, model)| *model != first_model)
    {
        return Err(Error::input(
            Path::new(&other.file),
            format!(
                "has rewards of `{other_model}`, but {} has those of `{first_model}`",
                one.file
            ),
            "rewards of different models do not compare: choose a model with --reward, or none",
        ));
    }
    match named.find(|(_, other)| *other != name) {
        None => Ok(Some(name.clone())),
        Some((other, other_name)) => Err(Error::input(
            Path::new(&other.file),
            format!(
                "has rewards in `{other_name}`, but {} has them in `{name}`",
                first.file
            ),
            "rewards of different models do not compare: choose with --reward column:NAME, a model, \
             or none",
        )),
    }
}

/// The warning that the rewards of two models lie apart: most likely different reward models computed them. Two
/// models lie apart if the 0.95 quantile of one is below the 0.05 quantile of the other, so that single texts with
/// an unusual reward do not hide it. `rewards` are the rewards by model; a warning names the pair that lies
/// farthest apart, relative to both ranges.
pub fn disjoint_rewards_warning(rewards: &[(&str, Vec<f64>)]) -> Option<String> {
    /// Models with fewer rewards are ignored.
    const MIN_REWARDS: usize = 8;
    /// A model with its 0.05 and its 0.95 quantile.
    type Range<'a> = (&'a str, [f64; 2]);
    let ranges: Vec<Range<'_>> = rewards
        .iter()
        .filter(|(_, rewards)| rewards.len() >= MIN_REWARDS)
        .map(|(model, rewards)| {
            let mut sorted = rewards.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            (*model, [0.05, 0.95].map(|share| percentile(&sorted, share)))
        })
        .collect();
    let pairs = ranges
        .iter()
        .flat_map(|low| ranges.iter().map(move |high| (low, high)))
        .filter(|((_, low), (_, high))| low[1] < high[0]);
    let count = pairs.clone().count();
    let gap =
        |((_, low), (_, high)): &(&Range<'_>, &Range<'_>)| (high[0] - low[1]) / (high[1] - low[0]);
    let ((low, low_range), (high, high_range)) =
        pairs.max_by(|one, other| gap(one).total_cmp(&gap(other)))?;
    let more = match count {
        1 => String::new(),
        2 => " One more pair of models lies apart like this.".to_owned(),
        _ => format!(" {} more pairs of models lie apart like this.", count - 1),
    };
    Some(format!(
        "Nearly all rewards of {low} ({:.3} to {:.3}, from the 5 % to the 95 % quantile) are below those of {high} \
         ({:.3} to {:.3}): if two reward models gave them, they do not compare.{more}",
        low_range[0], low_range[1], high_range[0], high_range[1]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_of_two_reward_models_are_an_error() {
        let input = |file: &str, score: &str, reward_model: Option<&str>| Input {
            file: file.to_owned(),
            path: file.to_owned(),
            sha256: String::new(),
            rows: 1,
            responses: 1,
            score: Some(score.to_owned()),
            reward_model: reward_model.map(str::to_owned),
            adapter: None,
        };
        let shared = |inputs: &[Input]| shared_score(inputs).map_err(|error| error.to_string());
        let one = input("one", "reward", Some("a"));
        let same = [one.clone(), input("other", "reward", Some("a"))];
        assert_eq!(shared(&same).unwrap().as_deref(), Some("reward"));
        // A file without a reward model is compared by its column only.
        let unnamed_model = [one.clone(), input("other", "reward", None)];
        assert!(shared(&unnamed_model).is_ok());
        let error = shared(&[one.clone(), input("other", "reward", Some("b"))]).unwrap_err();
        assert!(
            error.contains("rewards of `b`, but one has those of `a`"),
            "{error}"
        );
        let columns = shared(&[one, input("other", "score", Some("a"))]).unwrap_err();
        assert!(columns.contains("in `score`"), "{columns}");
    }

    #[test]
    fn one_unusual_reward_does_not_hide_another_reward_model() {
        let of = |center: f64| -> Vec<f64> {
            (0..100)
                .map(|at| center + f64::from(at % 10) / 10.0)
                .collect()
        };
        let mut low = of(-7.0);
        low[3] = 5.8;
        let apart = [("dpo", of(3.0)), ("safe", low), ("few", vec![-99.0; 7])];
        let warning = disjoint_rewards_warning(&apart).unwrap();
        assert!(warning.contains("of safe (-7.000 to -6.100"), "{warning}");
        assert!(!warning.contains("more pair"), "{warning}");
        // Overlap of more than a twentieth of each is no sign of another reward model.
        let near = [("dpo", of(3.0)), ("orpo", of(3.8))];
        assert_eq!(disjoint_rewards_warning(&near), None);
        let three = [("a", of(0.0)), ("b", of(3.0)), ("c", of(9.0))];
        let warning = disjoint_rewards_warning(&three).unwrap();
        assert!(
            warning.contains("of a") && warning.contains("of c"),
            "{warning}"
        );
        assert!(warning.contains("2 more pairs"), "{warning}");
    }
}
