//! Evaluation: metrics on the held-out split, and the best adapter of a reward model.

use std::sync::atomic::AtomicBool;

use polyphony_io::Result;
use polyphony_io::atomic::write_json;
use polyphony_io::progress::Progress;
use tracing::instrument;

use super::metrics::eval_metrics;
use super::micro_batch::TrainItem;
use super::reward_metrics::{RewardMetrics, reward_metrics};
use super::trainer::Trainer;
use crate::method::Method;

/// The file of a reward model's metrics on held-out scores.
const REWARD_EVAL_FILE: &str = "reward_eval.json";

impl Trainer<'_> {
    /// Whether an evaluation is due at the current step: every `eval_steps` steps, and after the last step.
    pub(super) fn is_evaluation_due(&self, total_steps: usize) -> bool {
        let step = self.counters.step;
        let due = step == total_steps || (step > 0 && step.is_multiple_of(self.config.eval_steps));
        due && !self.eval.is_empty() && !self.log.is_evaluated(step)
    }

    /// Evaluates the held-out split and logs its metrics, unless `stop` is set meanwhile.
    #[instrument(name = "evaluation", level = "debug", skip_all, fields(step = self.counters.step))]
    pub(super) fn evaluate(
        &mut self,
        total_steps: usize,
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<()> {
        let examples: Vec<TrainItem<'_>> = self.eval.iter().zip(&self.eval_constants).collect();
        let evaluated = self.micro_batcher.evaluate(&self.policy, &examples, stop)?;
        let Some((sums, rewards)) = evaluated else {
            return Ok(());
        };
        let objective = self.config.objective();
        let step = self.counters.step;
        let line = eval_metrics(&objective, step, self.epoch(), &sums, examples.len());
        let before = self.log.eval_losses();
        // The first evaluation is the best so far: `all` of no losses is true.
        let is_best = before.iter().all(|(_, loss)| sums.loss < *loss);
        let reward_metrics = self.reward_metrics(&rewards);
        let mut folders = vec![self.config.out.clone()];
        if is_best && self.config.method == Method::Reward {
            let best = self.config.out.join("best");
            self.write_adapter(&best)?;
            folders.push(best);
        }
        if let Some(reward_metrics) = &reward_metrics {
            for folder in folders {
                write_json(&folder.join(REWARD_EVAL_FILE), reward_metrics)?;
            }
            if step == total_steps {
                progress.message(&reward_metrics.to_string());
            }
        }
        self.log.append(&line)
    }

    /// Metrics of a reward model on the held-out scores; none where it is trained on pairs.
    fn reward_metrics(&self, rewards: &[f32]) -> Option<RewardMetrics> {
        if self.config.method != Method::Reward || self.config.objective().has_pairs() {
            return None;
        }
        let rewards: Vec<f64> = rewards.iter().map(|&reward| f64::from(reward)).collect();
        let examples = self.eval.iter();
        let targets: Vec<f64> = examples.clone().map(|example| example.score).collect();
        let prompts: Vec<u64> = examples.map(|example| example.prompt_hash).collect();
        Some(reward_metrics(&rewards, &targets, &prompts))
    }
}
