//! What does each step say of itself? One line of JSON, under TRL's names.

use serde_json::{Map, Value, json};

use crate::objective::{Method, Objective, Sums};

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
pub fn line(objective: &Objective, step: &Step, sums: &Sums, pairs: usize) -> Map<String, Value> {
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
pub fn means(prefix: &str, objective: &Objective, sums: &Sums, pairs: usize) -> Map<String, Value> {
    let count = pairs.max(1) as f64;
    let mut line = Map::new();
    let mut put = |name: &str, value: f64| line.insert(format!("{prefix}{name}"), json!(value));
    put("loss", sums.loss);
    // A reward model tells rewards of its pairs, and no log-probabilities.
    if objective.method.has_pairs() {
        put("logps/chosen", sums.logps_chosen / count);
        put("logps/rejected", sums.logps_rejected / count);
    }
    if objective.has_pairs() {
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
    use crate::objective::DorpoForm;

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
        let sums = Sums {
            rewards_chosen: 3.0,
            rewards_rejected: 1.0,
            accuracies: 1.0,
            ..Sums::default()
        };
        let told = means("", &objective(reward::Kind::BradleyTerry), &sums, 2);
        assert_eq!(told["rewards/margins"], json!(1.0));
        assert_eq!(told["rewards/accuracies"], json!(0.5));
        assert!(!told.contains_key("logps/chosen"));
        let told = means("", &objective(reward::Kind::L1), &sums, 2);
        assert_eq!(told.keys().collect::<Vec<_>>(), ["loss"]);
    }
}
