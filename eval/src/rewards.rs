//! Do rewards compare? Those of one reward model do.

use std::path::Path;

use polyphony_engine::{Error, Result};

use crate::evaluate::{Evaluation, ModelPrompt};
use crate::outputs::Input;

/// A reward column that all files share; none where they differ, with why.
///
/// # Errors
/// When files with scores name them differently: rewards of different models do not compare.
pub fn shared_score(inputs: &[Input]) -> Result<Option<String>> {
    let mut named = inputs
        .iter()
        .filter_map(|input| Some((input, input.score.as_ref()?)));
    let Some((first, name)) = named.next() else {
        return Ok(None);
    };
    let mut judged = inputs
        .iter()
        .filter(|input| input.score.is_some())
        .filter_map(|input| Some((input, input.reward_model.as_ref()?)));
    if let Some((one, judge)) = judged.next()
        && let Some((other, theirs)) = judged.find(|(_, theirs)| *theirs != judge)
    {
        return Err(Error::input(
            Path::new(&other.file),
            format!(
                "has rewards of `{theirs}`, but {} has those of `{judge}`",
                one.file
            ),
            "rewards of different models do not compare: choose a model with --reward, or none",
        ));
    }
    match named.find(|(_, other)| *other != name) {
        None => Ok(Some(name.clone())),
        Some((other, theirs)) => Err(Error::input(
            Path::new(&other.file),
            format!(
                "has rewards in `{theirs}`, but {} has them in `{name}`",
                first.file
            ),
            "rewards of different models do not compare: choose with --reward column:NAME, a model, \
             or none",
        )),
    }
}

/// Says which two models' rewards have no value in common: most likely they are of two reward models.
pub fn unlike_rewards(evaluation: &Evaluation<'_>) -> Option<String> {
    /// Of so few rewards nothing is said.
    const ENOUGH: usize = 8;
    let range = |row: &Vec<Option<ModelPrompt<'_>>>| {
        let texts = row.iter().flatten().flat_map(|cell| &cell.texts);
        let rewards: Vec<f64> = texts.filter_map(|text| text.reward).collect();
        let least = rewards.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (rewards.len() >= ENOUGH).then_some((least, most))
    };
    let ranges: Vec<(&String, (f64, f64))> = evaluation
        .models
        .iter()
        .zip(evaluation.cells.iter().map(range))
        .filter_map(|(model, range)| Some((model, range?)))
        .collect();
    let mut pairs = ranges
        .iter()
        .flat_map(|one| ranges.iter().map(move |other| (one, other)));
    let ((one, (least, most)), (other, (lowest, highest))) =
        pairs.find(|((_, one), (_, other))| one.1 < other.0)?;
    Some(format!(
        "All rewards of {one} ({least:.3} to {most:.3}) lie below all of {other} ({lowest:.3} to \
         {highest:.3}): if two reward models gave them, they do not compare."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_of_two_models_are_told_apart() {
        let input = |file: &str, score: &str, judge: Option<&str>| Input {
            file: file.to_owned(),
            sha256: String::new(),
            rows: 1,
            responses: 1,
            score: Some(score.to_owned()),
            reward_model: judge.map(str::to_owned),
        };
        let shared = |inputs: &[Input]| shared_score(inputs).map_err(|error| error.to_string());
        let one = input("one", "reward", Some("a"));
        let same = [one.clone(), input("other", "reward", Some("a"))];
        assert_eq!(shared(&same).unwrap().as_deref(), Some("reward"));
        // Who does not say it is taken at their word for the column.
        let unsaid = [one.clone(), input("other", "reward", None)];
        assert!(shared(&unsaid).is_ok());
        let judges = shared(&[one.clone(), input("other", "reward", Some("b"))]).unwrap_err();
        assert!(
            judges.contains("rewards of `b`, but one has those of `a`"),
            "{judges}"
        );
        let columns = shared(&[one, input("other", "score", Some("a"))]).unwrap_err();
        assert!(columns.contains("in `score`"), "{columns}");
    }
}
