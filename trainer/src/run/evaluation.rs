//! How good is what was learnt so far, on what was held out? Numbers in the metrics, and the best adapter.

use std::sync::atomic::AtomicBool;

use polyphony_io::Result;
use polyphony_io::atomic::write_atomic;
use polyphony_io::progress::Progress;

use super::Run;
use crate::agreement::{Agreement, agreement};
use crate::data::Example;
use crate::metrics;
use crate::objective::{Method, PairConstants};

impl Run<'_> {
    /// Whether the last step's line is to have the evaluation split's numbers and has not.
    pub(super) fn owes_evaluation(&self, steps: usize) -> bool {
        let step = self.state.step;
        let due = step == steps || (step > 0 && step.is_multiple_of(self.config.eval_every));
        let last = self.lines.last();
        let lacks = last.is_some_and(|line| !line.contains("\"eval_loss\""));
        due && lacks && !self.evaluation.is_empty()
    }

    /// Adds the evaluation split's numbers to the last step's line where they are due; whether it
    /// did, which it does not once `stop` is set.
    pub(super) fn evaluate(
        &mut self,
        steps: usize,
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<bool> {
        if !self.owes_evaluation(steps) {
            return Ok(false);
        }
        let examples = self.held_out();
        let Some((sums, scores)) = self.passes.evaluate(&self.policy, &examples, stop)? else {
            return Ok(false);
        };
        let objective = self.config.objective();
        let means = metrics::means("eval_", &objective, &sums, examples.len());
        let before = self.curve("eval_loss");
        let is_best = before.iter().all(|(_, loss)| sums.loss < *loss);
        let agreement = self.agreement(&scores);
        let told = agreement.as_ref().map(serde_json::to_string_pretty);
        let told = told.and_then(serde_json::Result::ok);
        let mut folders = vec![self.config.out.clone()];
        if is_best && self.config.method == Method::Reward {
            folders.push(self.config.out.join("best"));
            self.write_adapter(&self.config.out.join("best"))?;
        }
        for folder in folders {
            if let Some(told) = &told {
                write_atomic(&folder.join("agreement.json"), told.as_bytes())?;
            }
        }
        if let Some(agreement) = agreement.filter(|_| self.state.step == steps) {
            progress.message(&agreement.to_string());
        }
        let told = serde_json::to_string(&means).unwrap_or_default();
        if let Some(line) = self.lines.last_mut() {
            // Put behind what is written already: numbers that are read back lose a digit.
            line.truncate(line.len().saturating_sub(1));
            line.push(',');
            line.push_str(told.trim_start_matches('{'));
        }
        Ok(true)
    }

    /// The evaluation split.
    fn held_out(&self) -> Vec<(&Example, &PairConstants)> {
        self.evaluation.iter().zip(&self.fixed_evaluation).collect()
    }

    /// How well a reward model's numbers agree with held-out votes; none where it learns of pairs.
    fn agreement(&self, scores: &[f32]) -> Option<Agreement> {
        if self.config.method != Method::Reward || self.config.objective().has_pairs() {
            return None;
        }
        let scores: Vec<f64> = scores.iter().map(|&score| f64::from(score)).collect();
        let of = self.evaluation.iter();
        let targets: Vec<f64> = of.clone().map(|example| example.score).collect();
        let prompts: Vec<u64> = of.map(|example| example.prompt).collect();
        Some(agreement(&scores, &targets, &prompts))
    }
}
