//! Metrics of a step or an evaluation, under TRL's names.

use serde_json::{Map, Value, json};

use crate::loss::metric_sums::MetricSums;
use crate::loss::objective::Objective;
use crate::method::Method;

/// Metrics of a step that are not means over its examples.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepInfo {
    /// The step's number, from 1.
    pub step: usize,
    /// The number of epochs so far, with a fraction.
    pub epoch: f64,
    /// The L2 norm of all gradients before clipping.
    pub grad_norm: f64,
    /// The learning rate of the step, after the schedule.
    pub learning_rate: f64,
    /// The number of tokens that went through the model since the start of the run.
    pub num_tokens: u64,
    /// Tokens a second in this step.
    pub tokens_per_second: f64,
}

/// The line of `metrics.jsonl` for a step over `count` examples, of which some may have been skipped.
pub fn step_metrics(
    objective: &Objective,
    info: &StepInfo,
    sums: &MetricSums,
    count: usize,
) -> Map<String, Value> {
    let mut line = means("", objective, sums, count);
    let numbers = [
        ("epoch", info.epoch),
        ("grad_norm", info.grad_norm),
        ("learning_rate", info.learning_rate),
        ("tokens_per_second", info.tokens_per_second.round()),
    ];
    line.extend(numbers.map(|(name, value)| (name.to_owned(), json!(value))));
    line.insert("step".to_owned(), json!(info.step));
    line.insert("num_tokens".to_owned(), json!(info.num_tokens));
    line
}

/// The line of `metrics.jsonl` for an evaluation over `count` examples: means with the prefix `eval_`.
pub fn eval_metrics(
    objective: &Objective,
    step: usize,
    epoch: f64,
    sums: &MetricSums,
    count: usize,
) -> Map<String, Value> {
    let mut line = means("eval_", objective, sums, count);
    line.insert("epoch".to_owned(), json!(epoch));
    line.insert("step".to_owned(), json!(step));
    line
}

/// The means over examples. Loss and weight are means over all; the others over those that went through the
/// model, and are left out where there are none.
fn means(
    prefix: &str,
    objective: &Objective,
    sums: &MetricSums,
    count: usize,
) -> Map<String, Value> {
    let (count, passed) = (count.max(1) as f64, sums.examples.max(1) as f64);
    let mut line = Map::new();
    let mut put = |name: &str, value: f64| line.insert(format!("{prefix}{name}"), json!(value));
    put("loss", sums.loss);
    if objective.method == Method::Reward {
        let rewards = &sums.rewards;
        put("min_reward", rewards.min);
        put("mean_reward", rewards.sum / rewards.count.max(1) as f64);
        put("max_reward", rewards.max);
        if objective.has_pairs() {
            put("accuracy", sums.accuracies / passed);
            put(
                "margin",
                (sums.rewards_chosen - sums.rewards_rejected) / passed,
            );
        }
        return line;
    }
    if objective.method.is_weighted() {
        put("mean_weight", sums.weights / count);
    }
    if sums.examples == 0 {
        return line;
    }
    for (name, mean) in sums.token_metrics.means() {
        put(name, mean);
    }
    if objective.has_pairs() {
        put("logps/chosen", sums.logps_chosen / passed);
        put("logps/rejected", sums.logps_rejected / passed);
        put("rewards/chosen", sums.rewards_chosen / passed);
        put("rewards/rejected", sums.rewards_rejected / passed);
        put(
            "rewards/margins",
            (sums.rewards_chosen - sums.rewards_rejected) / passed,
        );
        put("rewards/accuracies", sums.accuracies / passed);
    }
    let is_orpo = matches!(objective.method, Method::Orpo | Method::Dorpo);
    if is_orpo || objective.sft_weight > 0.0 {
        put("nll_loss", sums.nll_loss / passed);
    }
    if is_orpo {
        put("log_odds_ratio", sums.log_odds_ratio / passed);
        put("log_odds_chosen", sums.log_odds_chosen / passed);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::dpo::DpoLoss;
    use crate::loss::metric_sums::RewardStats;
    use crate::loss::objective::DorpoForm;
    use crate::loss::reward::RewardLoss;

    #[test]
    fn reward_model_reports_accuracy_and_margin_on_pairs_only() {
        let objective = |reward_loss: RewardLoss| Objective {
            method: Method::Reward,
            beta: 0.1,
            lambda: 0.25,
            dpo_loss: DpoLoss::Sigmoid,
            label_smoothing: 0.0,
            sft_weight: 0.0,
            dorpo_form: DorpoForm::Weighted,
            train_on_prompts: false,
            reward_loss,
        };
        let sums = MetricSums {
            examples: 2,
            rewards_chosen: 3.0,
            rewards_rejected: 1.0,
            accuracies: 1.0,
            rewards: RewardStats {
                count: 4,
                sum: 4.0,
                min: -2.0,
                max: 3.0,
            },
            ..MetricSums::default()
        };
        let line = eval_metrics(&objective(RewardLoss::BradleyTerry), 7, 1.5, &sums, 2);
        let expected = json!({
            "epoch": 1.5,
            "step": 7,
            "eval_loss": 0.0,
            "eval_min_reward": -2.0,
            "eval_mean_reward": 1.0,
            "eval_max_reward": 3.0,
            "eval_accuracy": 0.5,
            "eval_margin": 1.0,
        });
        assert_eq!(Value::Object(line), expected);
        let line = means("", &objective(RewardLoss::L1), &sums, 2);
        let names: Vec<&String> = line.keys().collect();
        assert_eq!(names, ["loss", "max_reward", "mean_reward", "min_reward"]);
    }

    #[test]
    fn skipped_pairs_count_for_loss_and_weight_alone() {
        let objective = Objective {
            method: Method::Ddpo,
            beta: 0.1,
            lambda: 0.25,
            dpo_loss: DpoLoss::Sigmoid,
            label_smoothing: 0.0,
            sft_weight: 0.0,
            dorpo_form: DorpoForm::Weighted,
            train_on_prompts: false,
            reward_loss: RewardLoss::L1,
        };
        let sums = MetricSums {
            examples: 2,
            weights: 3.0,
            loss: 0.5,
            accuracies: 1.0,
            ..MetricSums::default()
        };
        let line = means("", &objective, &sums, 4);
        assert_eq!(line["loss"], 0.5);
        assert_eq!(line["mean_weight"], 0.75);
        assert_eq!(line["rewards/accuracies"], 0.5);
        let line = means("", &objective, &MetricSums::default(), 4);
        let names: Vec<&String> = line.keys().collect();
        assert_eq!(names, ["loss", "mean_weight"]);
    }
}
