//! What does each step say of itself? One line of JSON, under TRL's names.
//!
//! Files for `TensorBoard` are not written: of the crates that can, one brings codecs for images, the
//! other generates its protocol with tools of 2023.

use serde_json::{Map, Value, json};

use crate::objective::{Method, MetricSums, Objective};

/// The numbers of a step that are not sums over its pairs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Step {
    /// Its number, from 1.
    pub step: usize,
    /// How often all pairs were seen.
    pub epoch: f64,
    /// The norm of all gradients before they are clipped.
    pub grad_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// How many tokens were seen since the beginning.
    pub num_tokens: u64,
    /// How many a second, in this step.
    pub tokens_per_second: f64,
}

/// The line of a step over so many pairs.
pub fn line(
    objective: &Objective,
    step: &Step,
    sums: &MetricSums,
    pairs: usize,
) -> Map<String, Value> {
    let mut line = means("", objective, sums, pairs);
    let numbers = [
        ("epoch", step.epoch),
        ("grad_norm", step.grad_norm),
        ("learning_rate", step.learning_rate),
        ("tokens_per_second", step.tokens_per_second.round()),
    ];
    line.extend(numbers.map(|(name, value)| (name.to_owned(), json!(value))));
    line.insert("step".to_owned(), json!(step.step));
    line.insert("num_tokens".to_owned(), json!(step.num_tokens));
    line
}

/// The means over pairs, with a prefix, as `eval_`.
pub fn means(
    prefix: &str,
    objective: &Objective,
    sums: &MetricSums,
    pairs: usize,
) -> Map<String, Value> {
    let count = pairs.max(1) as f64;
    let mut line = Map::new();
    let mut put = |name: &str, value: f64| line.insert(format!("{prefix}{name}"), json!(value));
    put("loss", sums.loss);
    if objective.method == Method::Reward {
        let scores = &sums.scores;
        put("min_reward", scores.least);
        put("mean_reward", scores.sum / scores.texts.max(1) as f64);
        put("max_reward", scores.most);
        if objective.has_pairs() {
            put("accuracy", sums.accuracies / count);
            put(
                "margin",
                (sums.rewards_chosen - sums.rewards_rejected) / count,
            );
        }
        return line;
    }
    for (name, mean) in sums.sureness.means() {
        put(name, mean);
    }
    if objective.has_pairs() {
        put("logps/chosen", sums.logps_chosen / count);
        put("logps/rejected", sums.logps_rejected / count);
        put("rewards/chosen", sums.rewards_chosen / count);
        put("rewards/rejected", sums.rewards_rejected / count);
        put(
            "rewards/margins",
            (sums.rewards_chosen - sums.rewards_rejected) / count,
        );
        put("rewards/accuracies", sums.accuracies / count);
    }
    if matches!(objective.method, Method::Orpo | Method::Dorpo) {
        put("nll_loss", sums.nll_loss / count);
        put("log_odds_ratio", sums.log_odds_ratio / count);
        put("log_odds_chosen", sums.log_odds_chosen / count);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{dpo, reward};
    use crate::objective::{DorpoForm, RewardStats};

    #[test]
    fn a_reward_model_of_pairs_tells_what_it_makes_of_them() {
        let objective = |reward: reward::Kind| Objective {
            method: Method::Reward,
            beta: 0.1,
            lambda: 0.25,
            kind: dpo::Kind::Sigmoid,
            label_smoothing: 0.0,
            form: DorpoForm::Weighted,
            on_prompts: false,
            reward,
        };
        let sums = MetricSums {
            rewards_chosen: 3.0,
            rewards_rejected: 1.0,
            accuracies: 1.0,
            scores: RewardStats {
                texts: 4,
                sum: 4.0,
                least: -2.0,
                most: 3.0,
            },
            ..MetricSums::default()
        };
        let told = means("eval_", &objective(reward::Kind::BradleyTerry), &sums, 2);
        let known = [
            ("loss", 0.0),
            ("min_reward", -2.0),
            ("mean_reward", 1.0),
            ("max_reward", 3.0),
            ("accuracy", 0.5),
            ("margin", 1.0),
        ];
        let known = known.map(|(name, value)| (format!("eval_{name}"), json!(value)));
        assert_eq!(told, Map::from_iter(known));
        let told = means("", &objective(reward::Kind::L1), &sums, 2);
        let names: Vec<&String> = told.keys().collect();
        assert_eq!(names, ["loss", "max_reward", "mean_reward", "min_reward"]);
    }
}
