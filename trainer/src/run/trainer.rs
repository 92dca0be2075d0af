//! Training loop: steps, evaluations and checkpoints until the last step or a stop.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use polyphony_io::Result;
use polyphony_io::atomic::write_atomic;
use polyphony_io::checksum::write_json_checked;
use polyphony_io::progress::{Progress, Unit};
use polyphony_model::reward::{REWARD_CONFIG_FILE, RewardConfig};
use serde_json::Value;

use super::checkpoint::{self, Counters, TrainState};
use super::loss_plot::{LOSS_PLOT_FILE, loss_plot};
use super::metrics_log::{METRICS_FILE, MetricsLog};
use super::micro_batch::MicroBatcher;
use super::watch::Watch;
use crate::config::Config;
use crate::data::batch_schedule::batch_schedule;
use crate::data::example::Example;
use crate::data::weight_stats::WeightStats;
use crate::loss::objective::PairConstants;
use crate::method::Method;
use crate::optim::adamw::Moments;
use crate::policy::Policy;
use crate::watch::MeasureSamples;
use polyphony_model::lora::write_adapter;

/// The result of a training run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// The number of steps so far, including those before a resume.
    pub steps: usize,
    /// The number of steps of the complete run; 0 where it was stopped during its preparation.
    pub total_steps: usize,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// The training losses as (step, loss).
    pub losses: Vec<(f64, f64)>,
    /// The weights of the training pairs, where those of weight 0 were skipped.
    pub skipped: Option<WeightStats>,
}

/// Trains by `config`; resumes the same run if the output folder has one. `measure` measures the texts of
/// `--watch`. Once `stop` is set, it writes a checkpoint and returns.
///
/// # Errors
/// When an input is missing or invalid, memory runs out, or a loss is not finite.
pub fn run(
    config: &Config,
    measure: Option<&MeasureSamples<'_>>,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<RunSummary> {
    let Some(mut trainer) = Trainer::prepare(config, measure, stop, progress)? else {
        return Ok(RunSummary {
            steps: 0,
            total_steps: 0,
            stopped: true,
            losses: Vec::new(),
            skipped: None,
        });
    };
    trainer.resume(progress)?;
    trainer.train(stop, progress)
}

/// The state of a run in memory.
pub(super) struct Trainer<'a> {
    pub(super) config: &'a Config,
    pub(super) policy: Policy,
    pub(super) micro_batcher: MicroBatcher,
    pub(super) train: Vec<Example>,
    pub(super) train_constants: Vec<PairConstants>,
    pub(super) weights: Option<WeightStats>,
    pub(super) eval: Vec<Example>,
    pub(super) eval_constants: Vec<PairConstants>,
    pub(super) moments: Moments,
    pub(super) counters: Counters,
    pub(super) log: MetricsLog,
    pub(super) watch: Option<Watch<'a>>,
    /// The lock of the output folder for the duration of the run: no other process writes there.
    pub(super) _lock: File,
}

impl Trainer<'_> {
    /// Resumes from the latest checkpoint.
    fn resume(&mut self, progress: &dyn Progress) -> Result<()> {
        let out = &self.config.out;
        checkpoint::remove_partial(out)?;
        let (names, values) = (self.policy.parameter_names(), self.policy.parameters());
        let latest = checkpoint::load_latest(out, &self.counters.fingerprint, &names, &values)?;
        if let Some((counters, values, moments)) = latest {
            progress.message(&format!("resuming after step {}", counters.step));
            self.policy.set_parameters(values);
            self.moments = moments;
            self.counters = counters;
        }
        self.log = MetricsLog::open(out, self.counters.step)?;
        if self.log.is_unchecked() {
            progress.message(&format!(
                "{}: its lines have no checksums, so they were not verified",
                out.join(METRICS_FILE).display()
            ));
        }
        Ok(())
    }

    /// Runs the steps from the current one to the last, with evaluations and checkpoints.
    fn train(&mut self, stop: &AtomicBool, progress: &dyn Progress) -> Result<RunSummary> {
        let config = self.config;
        let schedule = batch_schedule(
            &self.train,
            config.batch_size(),
            config.duration(),
            (!config.no_shuffle).then_some(config.seed),
        );
        let total_steps = schedule.len();
        let warmup = config.warmup_of(total_steps);
        if warmup >= total_steps {
            progress.message(&format!(
                "warmup takes {warmup} steps of {total_steps}: the learning rate stays below {}",
                config.learning_rate
            ));
        }
        // A stop or kill may have come during the evaluation after the last checkpoint.
        if self.is_evaluation_due(total_steps) {
            self.evaluate(total_steps, stop, progress)?;
        }
        if self.is_watch_due(total_steps) {
            self.watch(stop, progress)?;
        }
        self.check_collapse()?;
        progress.start(config.method.name(), Some(total_steps as u64), Unit::Steps);
        progress.resume(self.counters.step as u64);
        let interval = Duration::from_secs_f64(60.0 * config.save_minutes.min(1e9));
        let mut saved = Instant::now();
        while self.counters.step < total_steps && !stop.load(Ordering::Relaxed) {
            let step = self.counters.step;
            let factor =
                config
                    .lr_scheduler_type
                    .factor(step, total_steps, warmup, config.lr_num_cycles);
            let line = match self.step(&schedule[step], config.learning_rate * factor) {
                Ok(line) => line,
                Err(error) => {
                    // The cause of the failure may prevent a checkpoint, too: the step's error is returned,
                    // the checkpoint's is only reported.
                    if let Err(second) = self.save() {
                        progress.message(&format!("cannot write a checkpoint: {second}"));
                    }
                    return Err(error);
                }
            };
            let number = |name: &str| line.get(name).and_then(Value::as_f64).unwrap_or_default();
            progress.set_position(self.counters.step as u64);
            progress.set_rate(&format!(
                "{:.0} tokens/s, loss {:.4}{}",
                number("tokens_per_second"),
                number("loss"),
                self.log.latest_measures()
            ));
            self.log.append(&line)?;
            if self.is_evaluation_due(total_steps) {
                // An evaluation takes long: a kill during it must not lose the steps before it.
                self.save()?;
                saved = Instant::now();
                self.evaluate(total_steps, stop, progress)?;
            }
            if self.is_watch_due(total_steps) {
                self.save()?;
                saved = Instant::now();
                self.watch(stop, progress)?;
                self.check_collapse()?;
            }
            let last = self.counters.step == total_steps;
            let due = self.counters.step.is_multiple_of(config.save_steps);
            if due || last || saved.elapsed() >= interval {
                self.save()?;
                saved = Instant::now();
            }
        }
        progress.finish();
        if let Some(tokens) = self.micro_batcher.reduced_tokens(config.micro_batch_tokens) {
            progress.message(&format!(
                "out of memory: micro-batches were reduced to {tokens} tokens; start with \
                 --micro-batch-tokens {tokens}"
            ));
        }
        // A stop during the last evaluation leaves it undone, although all steps are complete.
        let stopped = self.counters.step < total_steps
            || self.is_evaluation_due(total_steps)
            || self.is_watch_due(total_steps);
        if stopped {
            self.save()?;
        }
        self.finish(stopped)?;
        Ok(RunSummary {
            steps: self.counters.step,
            total_steps,
            stopped,
            losses: self.log.losses(),
            skipped: self
                .weights
                .filter(|weights| weights.zero > 0 && config.objective().skips(0.0)),
        })
    }

    /// Writes a checkpoint.
    fn save(&self) -> Result<()> {
        let (names, values) = (self.policy.parameter_names(), self.policy.parameters());
        let state = TrainState {
            names: &names,
            values: &values,
            moments: &self.moments,
        };
        checkpoint::save(
            &self.config.out,
            &self.counters,
            &self.policy.lora_config,
            &state,
            self.config.save_total_limit,
        )
    }

    /// Writes the loss curve and, after the last step, the adapter.
    fn finish(&self, stopped: bool) -> Result<()> {
        let title = format!("{} on {}", self.config.method.name(), self.config.model);
        let plot = loss_plot(&title, &self.log.losses(), &self.log.eval_losses());
        write_atomic(&self.config.out.join(LOSS_PLOT_FILE), plot.as_bytes())?;
        if stopped {
            return Ok(());
        }
        self.write_adapter(&self.config.out)
    }

    /// Writes the adapter in PEFT's format, and a reward model's maximum length.
    pub(super) fn write_adapter(&self, folder: &Path) -> Result<()> {
        let (names, values) = (self.policy.parameter_names(), self.policy.parameters());
        write_adapter(folder, &self.policy.lora_config, &names, &values)?;
        if self.config.method == Method::Reward {
            let reward_config = RewardConfig {
                max_length: self.config.max_length,
            };
            write_json_checked(&folder.join(REWARD_CONFIG_FILE), &reward_config)?;
        }
        Ok(())
    }
}
