//! How does a run go? Step after step, with metrics, checkpoints and evaluations, until it is done
//! or told to stop.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_core::Tensor;
use polyphony_io::atomic::{lock_folder, write_atomic};
use polyphony_io::progress::{Progress, Unit};
use polyphony_io::{Error, Result};
use polyphony_model::chat::Chat;
use polyphony_model::decoder::Head;
use polyphony_model::decoder::config::Config as Shape;
use polyphony_model::device::DeviceSpec;
use polyphony_model::files::ModelFiles;
use polyphony_model::memory;
use polyphony_model::reward::{LIMIT, RewardConfig};
use serde_json::{Map, Value};

use crate::checkpoint::{self, State, TrainState};
use crate::config::Config;
use crate::curve;
use crate::data::{DatasetReader, Example, Examples};
use crate::identity::{CONFIG, RUN, RunManifest};
use crate::metrics::{self, Step};
use crate::objective::{Method, PairConstants};
use crate::optimizer::{self, Moments};
use crate::pass::MicroBatcher;
use crate::peft;
use crate::plan::plan;
use crate::policy::Policy;
use crate::reference::{self, LogpCache, ReferenceModel};
use crate::votes;
use polyphony_model::lora::Adapter;

mod evaluation;

const METRICS: &str = "metrics.jsonl";

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How many steps it made, in all its parts.
    pub steps: usize,
    /// How many it was to make; 0 where it was stopped before that was known.
    pub of: usize,
    /// The loss of its last step; none where it made none.
    pub loss: Option<f64>,
    /// Whether it was told to stop.
    pub stopped: bool,
    /// The losses by step.
    pub losses: Vec<(f64, f64)>,
}

/// Trains as `config` says; where the folder holds a part of the same run, goes on from there. Ends
/// early, with a checkpoint, once `stop` is set.
///
/// # Errors
/// When something is missing or is not what it should be, memory runs out, or a loss is no number.
pub fn run(config: &Config, stop: &AtomicBool, progress: &dyn Progress) -> Result<Summary> {
    let Some(mut run) = Run::prepare(config, stop, progress)? else {
        return Ok(Summary {
            steps: 0,
            of: 0,
            loss: None,
            stopped: true,
            losses: Vec::new(),
        });
    };
    run.restore(progress)?;
    run.train(stop, progress)
}

struct Run<'a> {
    config: &'a Config,
    policy: Policy,
    passes: MicroBatcher,
    train: Vec<Example>,
    fixed: Vec<PairConstants>,
    evaluation: Vec<Example>,
    fixed_evaluation: Vec<PairConstants>,
    moments: Moments,
    state: State,
    /// The lines of its metrics, as they are written: numbers that are read back lose a digit.
    lines: Vec<String>,
    /// Held while it runs: nobody else writes to its folder.
    _lock: File,
}

impl<'a> Run<'a> {
    /// Reads what it needs; none where it is told to stop.
    fn prepare(
        config: &'a Config,
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<Option<Self>> {
        let files = ModelFiles::find_model(&config.model)?;
        if !config.pairs.is_file() {
            return Err(Error::input(&config.pairs, "is no file", "check the path"));
        }
        Shape::read(&files)?;
        let chat = Chat::load(&files)?;
        let reading = DatasetReader {
            file: &config.pairs,
            method: config.method,
            in_pairs: config.objective().has_pairs(),
            max_length: config.max_length,
            too_long: config.too_long,
        };
        let Some(mut examples) = reading.examples(&chat, stop)? else {
            return Ok(None);
        };
        examples.thin_evaluation(config.eval_pairs);
        let identity = RunManifest::new(config, &files, &examples)?;
        identity.check_out_dir(&config.out)?;
        if config.method == Method::Reward && !config.raw_scores {
            transform(&mut examples);
        }
        identity.rows.say(config.max_length, progress);
        let head = match config.method {
            Method::Reward => Head::Score,
            _ => Head::Words,
        };
        let mut policy = Policy::bare(&files, head, DeviceSpec::named(&config.device)?)?;
        if config.max_length > policy.decoder.config.max_tokens {
            progress.message(&format!(
                "--max-length {} is above the model's own {}",
                config.max_length, policy.decoder.config.max_tokens
            ));
        }
        let (base, revision) = files.address()?;
        match &config.adapter {
            Some(folder) => {
                let adapter = Adapter::read(folder)?;
                let of = adapter.lora_config.base.as_deref();
                if let Some(other) = of.filter(|of| last_part(of) != last_part(&base)) {
                    let folder = folder.display();
                    progress.message(&format!("{folder} was trained on {other}, not on {base}"));
                }
                policy.load_adapter(&adapter)?;
            }
            None => policy.adapt(&config.lora_config(), config.seed)?,
        }
        (policy.lora_config.base, policy.lora_config.revision) = (Some(base), revision);
        fs::create_dir_all(&config.out).map_err(Error::io("make", &config.out))?;
        let lock = lock_folder(&config.out, |process| {
            let message = format!("is being written by another polyphony (process {process})");
            Error::input(
                &config.out,
                message,
                "wait until it is done, or use another --out",
            )
        })?;
        // Another run may have come between the first look and the lock.
        identity.check_out_dir(&config.out)?;
        let Some(fixed) = fixed(config, &identity, &mut policy, &examples, stop, progress)? else {
            return Ok(None);
        };
        // Only now is it a run: what was refused leaves the folder free.
        let text = serde_json::to_string_pretty(&identity).unwrap_or_default();
        write_atomic(&config.out.join(RUN), text.as_bytes())?;
        write_atomic(&config.out.join(CONFIG), config.toml().as_bytes())?;
        let (train, evaluation) = fixed.split_at(examples.train.len());
        Ok(Some(Self {
            moments: Moments::new(&policy.parameters())?,
            passes: MicroBatcher::new(
                config.objective(),
                config.micro_batch_tokens,
                config.recompute,
            ),
            state: State {
                step: 0,
                num_tokens: 0,
                num_pairs: 0,
                fingerprint: identity.fingerprint.clone(),
            },
            fixed: train.to_vec(),
            fixed_evaluation: evaluation.to_vec(),
            train: examples.train,
            evaluation: examples.evaluation,
            lines: Vec::new(),
            _lock: lock,
            config,
            policy,
        }))
    }

    /// Takes up a run where its newest checkpoint stands.
    fn restore(&mut self, progress: &dyn Progress) -> Result<()> {
        let out = &self.config.out;
        checkpoint::sweep(out)?;
        let (names, values) = (self.policy.names(), self.policy.parameters());
        let newest = checkpoint::newest(out, &self.state.fingerprint, &names, &values)?;
        if let Some((state, values, moments)) = newest {
            progress.message(&format!("goes on after step {}", state.step));
            self.policy.set_parameters(values);
            self.moments = moments;
            self.state = state;
        }
        // Steps that are made again are told again.
        let text = fs::read_to_string(out.join(METRICS)).unwrap_or_default();
        let is_before = |line: &&str| {
            let step = number(line, "step");
            step.is_some_and(|step| step as usize <= self.state.step)
        };
        let told = text.lines().filter(is_before);
        self.lines = told.map(str::to_owned).collect();
        self.rewrite_metrics()
    }

    fn train(&mut self, stop: &AtomicBool, progress: &dyn Progress) -> Result<Summary> {
        let plan = plan(self.config, &self.train);
        let steps = plan.len();
        let warmup = self.config.warmup_steps(steps);
        if warmup >= steps {
            progress.message(&format!(
                "the warm-up of {warmup} steps takes all {steps}: the learning rate stays below {}",
                self.config.learning_rate
            ));
        }
        // Of the last step before a stop, which came in the midst of it.
        if self.evaluate(steps, stop, progress)? {
            self.rewrite_metrics()?;
        }
        progress.start(self.config.method.name(), Some(steps as u64), Unit::Rows);
        let minutes = Duration::from_secs_f64(60.0 * self.config.checkpoint_minutes.min(1e9));
        let mut saved = Instant::now();
        while self.state.step < steps && !stop.load(Ordering::Relaxed) {
            let schedule = self.config.schedule;
            let factor = schedule.factor(self.state.step, steps, warmup, self.config.cosine_cycles);
            let batch = &plan[self.state.step];
            let line = match self.step(batch, self.config.learning_rate * factor) {
                Ok(line) => line,
                Err(error) => {
                    // What broke the step may break this, too: the first is what to tell.
                    if let Err(second) = self.save() {
                        progress.message(&format!("no checkpoint could be written: {second}"));
                    }
                    return Err(error);
                }
            };
            let loss = line.get("loss").and_then(Value::as_f64).unwrap_or_default();
            progress.set_position(self.state.step as u64);
            let rate = line.get("tokens_per_second").and_then(Value::as_f64);
            progress.set_rate(&format!(
                "{:.0} tokens/s, loss {loss:.4}",
                rate.unwrap_or_default()
            ));
            self.lines
                .push(serde_json::to_string(&line).unwrap_or_default());
            // An evaluation takes long: what came before it is not lost with it.
            self.append_metrics()?;
            if self.owes_evaluation(steps) {
                self.save()?;
                saved = Instant::now();
                if self.evaluate(steps, stop, progress)? {
                    self.rewrite_metrics()?;
                }
            }
            let last = self.state.step == steps;
            let due = self.state.step.is_multiple_of(self.config.checkpoint_every);
            if due || last || saved.elapsed() >= minutes {
                self.save()?;
                saved = Instant::now();
            }
        }
        progress.finish();
        if let Some(tokens) = self.passes.reduced(self.config.micro_batch_tokens) {
            progress.message(&format!(
                "memory ran out: passes were of {tokens} tokens in the end; --micro-batch-tokens {tokens} \
                 says so from the start"
            ));
        }
        let stopped = self.state.step < steps || self.owes_evaluation(steps);
        if stopped {
            self.save()?;
        }
        self.finish(stopped)?;
        let losses = self.curve("loss");
        Ok(Summary {
            steps: self.state.step,
            of: steps,
            loss: losses.last().map(|(_, loss)| *loss),
            stopped,
            losses,
        })
    }

    /// One step on the examples at these places.
    fn step(&mut self, batch: &[usize], learning_rate: f64) -> Result<Map<String, Value>> {
        let start = Instant::now();
        let examples: Vec<(&Example, &PairConstants)> = batch
            .iter()
            .map(|&place| (&self.train[place], &self.fixed[place]))
            .collect();
        let learnt = self.passes.forward_backward(&self.policy, &examples);
        let (sums, gradients) = learnt.map_err(|error| self.beside(error))?;
        let norm = optimizer::global_norm(&gradients).map_err(|error| self.beside(error.into()))?;
        if !sums.loss.is_finite() || !norm.is_finite() {
            return Err(self.non_finite_error(sums.loss, norm, &examples));
        }
        let gradients = match self.config.max_grad_norm {
            most if most > 0.0 => {
                optimizer::clip(gradients, norm, most).map_err(|error| self.beside(error.into()))?
            }
            _ => gradients,
        };
        let parameters = self.policy.parameters();
        let adamw = self.config.adamw();
        let next = adamw.step(&parameters, &gradients, &self.moments, learning_rate);
        let (values, moments) = next.map_err(|error| self.beside(error.into()))?;
        self.policy.set_parameters(values);
        self.moments = moments;
        let tokens: usize = examples.iter().map(|(example, _)| example.tokens()).sum();
        let pairs = batch.len();
        self.state.step += 1;
        self.state.num_tokens += tokens as u64;
        self.state.num_pairs += pairs;
        let step = Step {
            step: self.state.step,
            epoch: self.state.num_pairs as f64 / self.train.len() as f64,
            grad_norm: norm,
            learning_rate,
            num_tokens: self.state.num_tokens,
            tokens_per_second: tokens as f64 / start.elapsed().as_secs_f64(),
        };
        let objective = self.config.objective();
        Ok(metrics::line(&objective, &step, &sums, pairs))
    }

    /// The error of a step, with how much it needs beside the model where memory ran out.
    fn beside(&self, error: Error) -> Error {
        let values = self.policy.parameters();
        let count: usize = values.iter().map(Tensor::elem_count).sum();
        // Gradients, and values and moments both old and new, in f32.
        let bytes = memory::mebibytes(count * 4 * 7);
        let what = || format!("AdamW's step on {count} adapter values, which takes {bytes}");
        let device = &self.policy.decoder.device;
        memory::oom_error(
            error,
            device,
            what,
            "use a smaller --lora-r, or fewer targets",
        )
    }

    /// The error for a step whose loss is no number, after which there is no going on.
    fn non_finite_error(
        &self,
        loss: f64,
        norm: f64,
        examples: &[(&Example, &PairConstants)],
    ) -> Error {
        let (config, step) = (self.config, self.state.step);
        let rows: Vec<String> = examples.iter().map(|(e, _)| e.row.to_string()).collect();
        let start = checkpoint::at(&config.out, step);
        let mut hint = format!(
            "look at those rows, or choose another --out and a lower --learning-rate, with --adapter {}",
            start.display()
        );
        if config.method.has_reference() {
            let reference = match (ReferenceModel::named(&config.reference), &config.adapter) {
                (ReferenceModel::Init, Some(adapter)) => adapter.display().to_string(),
                (ReferenceModel::Init, None) => "base".to_owned(),
                _ => config.reference.clone(),
            };
            hint.push_str(" --reference ");
            hint.push_str(&reference);
        }
        let message = format!(
            "step {}: the loss is {loss} and the gradients' norm {norm} on the rows {} of {}",
            step + 1,
            rows.join(", "),
            config.pairs.display()
        );
        Error::input(&config.out, message, hint)
    }

    fn save(&self) -> Result<()> {
        let (names, values) = (self.policy.names(), self.policy.parameters());
        let held = TrainState {
            names: &names,
            values: &values,
            moments: &self.moments,
        };
        let keep = self.config.keep_checkpoints;
        checkpoint::write(
            &self.config.out,
            &self.state,
            &self.policy.lora_config,
            &held,
            keep,
        )
    }

    /// Appends the last step's line. One that a kill cuts off is none: its step is made again.
    fn append_metrics(&self) -> Result<()> {
        let path = self.config.out.join(METRICS);
        let file = fs::OpenOptions::new().append(true).create(true).open(&path);
        let line = self
            .lines
            .last()
            .map_or_else(String::new, |line| format!("{line}\n"));
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(Error::io("write", &path))
    }

    /// Writes the lines of all steps.
    fn rewrite_metrics(&self) -> Result<()> {
        let lines = self.lines.iter();
        let text: String = lines.flat_map(|line| [line.as_str(), "\n"]).collect();
        write_atomic(&self.config.out.join(METRICS), text.as_bytes())
    }

    fn finish(&self, stopped: bool) -> Result<()> {
        let title = format!("{} on {}", self.config.method.name(), self.config.model);
        let title = title.replace('&', "&amp;").replace('<', "&lt;");
        let picture = curve::svg(&title, &self.curve("loss"), &self.curve("eval_loss"));
        write_atomic(&self.config.out.join("loss.svg"), picture.as_bytes())?;
        if stopped {
            return Ok(());
        }
        self.write_adapter(&self.config.out)
    }

    fn write_adapter(&self, folder: &Path) -> Result<()> {
        let (names, values) = (self.policy.names(), self.policy.parameters());
        peft::write(folder, &self.policy.lora_config, &names, &values)?;
        if self.config.method == Method::Reward {
            let limit = RewardConfig {
                max_length: self.config.max_length,
            };
            let text = serde_json::to_string(&limit).unwrap_or_default();
            write_atomic(&folder.join(LIMIT), text.as_bytes())?;
        }
        Ok(())
    }

    /// A number of every line that has it, by step.
    fn curve(&self, name: &str) -> Vec<(f64, f64)> {
        let point = |line: &String| Some((number(line, "step")?, number(line, name)?));
        self.lines.iter().filter_map(point).collect()
    }
}

/// Brings the votes of all texts into the range of -1 to 1.
fn transform(examples: &mut Examples) {
    let all = || examples.train.iter().chain(&examples.evaluation);
    let votes: Vec<f64> = all().map(|example| example.score).collect();
    let targets = votes::transform(&votes);
    let all = examples.train.iter_mut().chain(&mut examples.evaluation);
    all.zip(targets)
        .for_each(|(example, target)| example.score = target);
}

/// A number of a line of metrics.
fn number(line: &str, name: &str) -> Option<f64> {
    let line: Map<String, Value> = serde_json::from_str(line).ok()?;
    line.get(name)?.as_f64()
}

/// The last part of a model's name or path: what is left of it when it is moved.
fn last_part(base: &str) -> &str {
    let name = base.split_once('@').map_or(base, |(name, _)| name);
    let name = name.trim_end_matches('/');
    name.rsplit('/').next().unwrap_or(name)
}

/// What does not change about the pairs, those to learn before those held out: weights, and the
/// reference's log-probabilities; none where it is told to stop.
fn fixed(
    config: &Config,
    identity: &RunManifest,
    policy: &mut Policy,
    examples: &Examples,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Option<Vec<PairConstants>>> {
    let all: Vec<&Example> = examples.train.iter().chain(&examples.evaluation).collect();
    if !config.method.has_reference() {
        let of = |example: &&Example| PairConstants {
            weight: example.weight,
            ref_chosen: 0.0,
            ref_rejected: 0.0,
        };
        return Ok(Some(all.iter().map(of).collect()));
    }
    let who = ReferenceModel::named(&config.reference);
    let default = config.out.join("reference.csv");
    let kept = LogpCache {
        file: config.reference_logps.as_deref().unwrap_or(&default),
        replaces: config.reference_logps.is_none(),
        fingerprint: &identity.reference_fingerprint(config),
    };
    let tokens = config.micro_batch_tokens;
    let Some(known) = reference::logps(policy, &who, &all, kept, tokens, stop, progress)? else {
        return Ok(None);
    };
    let pairs = all.iter().zip(known).map(|(example, known)| {
        let (ref_chosen, ref_rejected) = (known.chosen, known.rejected);
        if !ref_chosen.is_finite() || !ref_rejected.is_finite() {
            return Err(reference::not_finite(example.row));
        }
        Ok(PairConstants {
            weight: example.weight,
            ref_chosen,
            ref_rejected,
        })
    });
    pairs.collect::<Result<_>>().map(Some)
}
