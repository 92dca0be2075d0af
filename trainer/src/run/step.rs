//! A training step: loss and gradients of a batch, clipping, AdamW.

use std::time::Instant;

use candle_core::Tensor;
use polyphony_io::{Error, Result};
use polyphony_model::memory;
use serde_json::{Map, Value};
use tracing::instrument;

use super::checkpoint;
use super::metrics::{StepInfo, step_metrics};
use super::micro_batch::TrainItem;
use super::reference::ReferenceModel;
use super::trainer::Trainer;
use crate::optim::adamw::{clip_grad_norm, global_norm};

impl Trainer<'_> {
    /// One training step on the examples of these indices; returns its metrics.
    #[instrument(name = "step", level = "debug", skip_all, fields(step = self.counters.step + 1))]
    pub(super) fn step(
        &mut self,
        batch: &[usize],
        learning_rate: f64,
    ) -> Result<Map<String, Value>> {
        let start = Instant::now();
        let examples: Vec<TrainItem<'_>> = batch
            .iter()
            .map(|&index| (&self.train[index], &self.train_constants[index]))
            .collect();
        let result = self.micro_batcher.forward_backward(&self.policy, &examples);
        let (sums, gradients) = result.map_err(|error| self.optimizer_oom_error(error))?;
        let norm =
            global_norm(&gradients).map_err(|error| self.optimizer_oom_error(error.into()))?;
        // Checked before the update: parameters and moments stay finite, so that the checkpoint after an error is usable.
        if !sums.loss.is_finite() || !norm.is_finite() {
            return Err(self.non_finite_error(sums.loss, norm, &examples));
        }
        let gradients = match self.config.max_grad_norm {
            max_norm if max_norm > 0.0 => clip_grad_norm(gradients, norm, max_norm)
                .map_err(|error| self.optimizer_oom_error(error.into()))?,
            _ => gradients,
        };
        let parameters = self.policy.parameters();
        let adamw = self.config.adamw();
        let next = adamw.step(&parameters, &gradients, &self.moments, learning_rate);
        let (values, moments) = next.map_err(|error| self.optimizer_oom_error(error.into()))?;
        self.policy.set_parameters(values);
        self.moments = moments;
        let objective = self.config.objective();
        let passed = examples
            .iter()
            .filter(|(_, constants)| !objective.skips(constants.weight));
        let tokens: usize = passed.map(|(example, _)| example.tokens()).sum();
        let count = batch.len();
        self.counters.step += 1;
        self.counters.num_tokens += tokens as u64;
        self.counters.num_examples += count;
        let info = StepInfo {
            step: self.counters.step,
            epoch: self.epoch(),
            grad_norm: norm,
            learning_rate,
            num_tokens: self.counters.num_tokens,
            tokens_per_second: tokens as f64 / start.elapsed().as_secs_f64(),
        };
        Ok(step_metrics(&objective, &info, &sums, count))
    }

    /// The number of epochs so far, with a fraction.
    pub(super) fn epoch(&self) -> f64 {
        self.counters.num_examples as f64 / self.train.len() as f64
    }

    /// The error of a step; where memory ran out, with the memory that the optimizer needs in addition to the
    /// model.
    fn optimizer_oom_error(&self, error: Error) -> Error {
        let values = self.policy.parameters();
        let count: usize = values.iter().map(Tensor::elem_count).sum();
        // 7 f32 values a parameter: its gradient, and old and new versions of parameter and both moments.
        let size = memory::mebibytes(count * 4 * 7);
        let what = || format!("AdamW's step on {count} adapter values, which takes {size}");
        let device = &self.policy.decoder.device;
        memory::oom_error(
            error,
            device,
            what,
            "use a smaller --lora-r, or fewer --target-modules",
        )
    }

    /// The error of a step whose loss or gradient is not finite: the run cannot continue from here.
    fn non_finite_error(&self, loss: f64, norm: f64, examples: &[TrainItem<'_>]) -> Error {
        let (config, step) = (self.config, self.counters.step);
        let rows: Vec<String> = examples
            .iter()
            .map(|(example, _)| example.row.to_string())
            .collect();
        let start = checkpoint::checkpoint_dir(&config.out, step);
        let mut hint = format!(
            "check those rows, or start again with a lower --learning-rate, another --out and --adapter {}",
            start.display()
        );
        if config.method.has_reference() {
            // The reference is the adapter that the run started from, not the current one.
            let reference = match (ReferenceModel::parse(&config.reference), &config.adapter) {
                (ReferenceModel::Init, Some(adapter)) => adapter.display().to_string(),
                (ReferenceModel::Init, None) => "base".to_owned(),
                _ => config.reference.clone(),
            };
            hint.push_str(" --reference ");
            hint.push_str(&reference);
        }
        let message = format!(
            "step {}: loss is {loss}, gradient norm is {norm}, on rows {} of {}",
            step + 1,
            rows.join(", "),
            config.data.display()
        );
        Error::input(&config.out, message, hint)
    }
}
