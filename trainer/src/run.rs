//! How does a run go? Step after step, with metrics, checkpoints and evaluations, until it is done
//! or told to stop.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use polyphony_engine::ingest::lines::{hex, sha256_of};
use polyphony_engine::model::chat::Chat;
use polyphony_engine::model::decoder::Head;
use polyphony_engine::model::decoder::config::Config as Shape;
use polyphony_engine::model::device::Place;
use polyphony_engine::model::files::ModelFiles;
use polyphony_engine::progress::{Progress, Unit};
use polyphony_engine::store::write_whole;
use polyphony_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::agreement;
use crate::checkpoint::{self, Held, State};
use crate::config::Config;
use crate::curve;
use crate::data::{Example, Examples, Reading};
use crate::metrics::{self, Step};
use crate::objective::{Fixed, Method, Sums};
use crate::optimizer::{self, Moments};
use crate::pass::Passes;
use crate::peft;
use crate::policy::Policy;
use crate::random::Random;
use crate::reference::{self, Who};
use crate::votes;
use polyphony_engine::model::adapter::Adapter;

const RUN: &str = "run.json";
const METRICS: &str = "metrics.jsonl";
const CONFIG: &str = "config.toml";
/// A checkpoint is written after this long, however many steps that was.
const MINUTES: Duration = Duration::from_mins(10);

/// What a run is: what makes it repeatable, saved beside the adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The version of polyphony.
    pub polyphony: String,
    /// The model's revision: the hub's commit, or a hash of its files.
    pub model_revision: String,
    /// The SHA-256 of the pairs.
    pub pairs_sha256: String,
    /// The SHA-256 of the adapter that it starts from.
    pub adapter_sha256: Option<String>,
    /// A hash of all these and the numbers that decide what is computed.
    pub fingerprint: String,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How many steps it made, in all its parts.
    pub steps: usize,
    /// How many it was to make.
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
    let mut run = Run::prepare(config, progress)?;
    run.restore(progress)?;
    run.train(stop, progress)
}

struct Run<'a> {
    config: &'a Config,
    policy: Policy,
    passes: Passes,
    train: Vec<Example>,
    fixed: Vec<Fixed>,
    evaluation: Vec<Example>,
    fixed_evaluation: Vec<Fixed>,
    moments: Moments,
    state: State,
    /// The lines of its metrics, as they are written: numbers that are read back lose a digit.
    lines: Vec<String>,
}

impl<'a> Run<'a> {
    fn prepare(config: &'a Config, progress: &dyn Progress) -> Result<Self> {
        let files = ModelFiles::find_model(&config.model)?;
        let identity = identify(config, &files)?;
        same_run(&config.out, &identity)?;
        Shape::read(&files)?;
        let chat = Chat::load(&files)?;
        let reading = Reading {
            file: &config.pairs,
            method: config.method,
            in_pairs: config.objective().has_pairs(),
            max_length: config.max_length,
            too_long: config.too_long,
        };
        let mut examples = reading.examples(&chat)?;
        if config.method == Method::Reward && !config.raw_scores {
            transform(&mut examples);
        }
        let of = examples.train.len() + examples.evaluation.len() + examples.dropped;
        for (count, what) in [(examples.dropped, "left out"), (examples.truncated, "cut")] {
            if count > 0 {
                progress.say(&format!(
                    "{count} of {of} rows had a text of more than {} tokens and were {what}",
                    config.max_length
                ));
            }
        }
        let head = match config.method {
            Method::Reward => Head::Score,
            _ => Head::Words,
        };
        let mut policy = Policy::bare(&files, head, Place::named(&config.device)?)?;
        if config.max_length > policy.decoder.config.max_tokens {
            progress.say(&format!(
                "--max-length {} is above the model's own {}",
                config.max_length, policy.decoder.config.max_tokens
            ));
        }
        match &config.adapter {
            Some(folder) => policy.load_adapter(&Adapter::read(folder)?)?,
            None => policy.adapt(&config.spec(), config.seed)?,
        }
        policy.spec.base = Some(config.model.clone());
        let settled = Config {
            lora_r: policy.spec.r,
            lora_alpha: policy.spec.alpha,
            rslora: policy.spec.rslora,
            target_modules: policy.spec.target_modules.clone(),
            ..config.clone()
        };
        let fixed = fixed(
            config,
            &identity,
            &mut policy,
            &examples.train,
            &examples.evaluation,
            progress,
        )?;
        // Only now is it a run: what was refused leaves the folder free.
        write_whole(&config.out.join(CONFIG), settled.toml().as_bytes())?;
        let text = serde_json::to_string_pretty(&identity).unwrap_or_default();
        write_whole(&config.out.join(RUN), text.as_bytes())?;
        let (train, evaluation) = fixed.split_at(examples.train.len());
        Ok(Self {
            moments: Moments::new(&policy.parameters())?,
            passes: Passes::new(
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
            config,
            policy,
        })
    }

    /// Takes up a run where its newest checkpoint stands.
    fn restore(&mut self, progress: &dyn Progress) -> Result<()> {
        let (out, device) = (&self.config.out, self.policy.decoder.device.clone());
        if let Some((state, values, moments)) =
            checkpoint::newest(out, &self.policy.names(), &device)?
        {
            progress.say(&format!("goes on after step {}", state.step));
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
        self.tell()
    }

    fn train(&mut self, stop: &AtomicBool, progress: &dyn Progress) -> Result<Summary> {
        let plan = plan(self.config, &self.train);
        let steps = plan.len();
        let warmup = self.config.warmup_steps(steps);
        progress.begin(self.config.method.name(), Some(steps as u64), Unit::Rows);
        let mut saved = Instant::now();
        while self.state.step < steps && !stop.load(Ordering::Relaxed) {
            let schedule = self.config.schedule;
            let factor = schedule.factor(self.state.step, steps, warmup, self.config.cosine_cycles);
            let batch = &plan[self.state.step];
            let mut line = match self.step(batch, self.config.learning_rate * factor) {
                Ok(line) => line,
                Err(error) => {
                    self.save()?;
                    return Err(error);
                }
            };
            let loss = line.get("loss").and_then(Value::as_f64).unwrap_or_default();
            progress.at(self.state.step as u64);
            let rate = line.get("tokens_per_second").and_then(Value::as_f64);
            progress.rate(&format!(
                "{:.0} tokens/s, loss {loss:.4}",
                rate.unwrap_or_default()
            ));
            let last = self.state.step == steps;
            if last || self.state.step.is_multiple_of(self.config.eval_every) {
                line.extend(self.evaluate()?);
            }
            self.lines
                .push(serde_json::to_string(&line).unwrap_or_default());
            self.tell_last()?;
            let due = self.state.step.is_multiple_of(self.config.checkpoint_every);
            if due || last || saved.elapsed() > MINUTES {
                self.save()?;
                saved = Instant::now();
            }
        }
        progress.end();
        let stopped = self.state.step < steps;
        if stopped {
            self.save()?;
        }
        self.finish(stopped, progress)?;
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
        let examples: Vec<(&Example, &Fixed)> = batch
            .iter()
            .map(|&place| (&self.train[place], &self.fixed[place]))
            .collect();
        let (sums, gradients) = self.passes.learn(&self.policy, &examples)?;
        let norm = optimizer::global_norm(&gradients)?;
        if !sums.loss.is_finite() || !norm.is_finite() {
            let places: Vec<String> = batch.iter().map(|place| (place + 1).to_string()).collect();
            return Err(Error::source(
                &self.config.out,
                format!(
                    "step {}: the loss is {} and the gradients' norm {norm} on the pairs {}",
                    self.state.step + 1,
                    sums.loss,
                    places.join(", ")
                ),
                "a checkpoint before it is saved; lower the learning rate, or look at those pairs",
            ));
        }
        let gradients = match self.config.max_grad_norm {
            most if most > 0.0 => optimizer::clip(gradients, norm, most)?,
            _ => gradients,
        };
        let values = self.config.adamw().step(
            &self.policy.parameters(),
            &gradients,
            &mut self.moments,
            learning_rate,
        )?;
        self.policy.set_parameters(values);
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
        Ok(metrics::line(self.config.method, &step, &sums, pairs))
    }

    /// The evaluation split's numbers.
    fn evaluate(&self) -> Result<Map<String, Value>> {
        if self.evaluation.is_empty() {
            return Ok(Map::new());
        }
        let examples: Vec<(&Example, &Fixed)> =
            self.evaluation.iter().zip(&self.fixed_evaluation).collect();
        let sums: Sums = self.passes.judge(&self.policy, &examples)?;
        let means = metrics::means("eval_", self.config.method, &sums, examples.len());
        let before = self.curve("eval_loss");
        let is_best = before.iter().all(|(_, loss)| sums.loss < *loss);
        if is_best && self.config.method == Method::Reward {
            self.write_adapter(&self.config.out.join("best"))?;
        }
        Ok(means)
    }

    fn save(&self) -> Result<()> {
        let (names, values) = (self.policy.names(), self.policy.parameters());
        let held = Held {
            names: &names,
            values: &values,
            moments: &self.moments,
        };
        let keep = self.config.keep_checkpoints;
        checkpoint::write(
            &self.config.out,
            &self.state,
            &self.policy.spec,
            &held,
            keep,
        )
    }

    /// Appends the last step's line. One that a kill cuts off is none: its step is made again.
    fn tell_last(&self) -> Result<()> {
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
    fn tell(&self) -> Result<()> {
        let lines = self.lines.iter();
        let text: String = lines.flat_map(|line| [line.as_str(), "\n"]).collect();
        write_whole(&self.config.out.join(METRICS), text.as_bytes())
    }

    fn finish(&self, stopped: bool, progress: &dyn Progress) -> Result<()> {
        let title = format!("{} on {}", self.config.method.name(), self.config.model);
        let title = title.replace('&', "&amp;").replace('<', "&lt;");
        let picture = curve::svg(&title, &self.curve("loss"), &self.curve("eval_loss"));
        write_whole(&self.config.out.join("loss.svg"), picture.as_bytes())?;
        if stopped {
            return Ok(());
        }
        self.agree(progress)?;
        self.write_adapter(&self.config.out)
    }

    /// How well a reward model's numbers agree with held-out votes, as `agreement.json`.
    fn agree(&self, progress: &dyn Progress) -> Result<()> {
        let of_votes = self.config.method == Method::Reward && !self.config.objective().has_pairs();
        if !of_votes || self.evaluation.is_empty() {
            return Ok(());
        }
        let examples: Vec<(&Example, &Fixed)> =
            self.evaluation.iter().zip(&self.fixed_evaluation).collect();
        let scores = self.passes.scores(&self.policy, &examples)?;
        let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
        let targets: Vec<f64> = self
            .evaluation
            .iter()
            .map(|example| example.score)
            .collect();
        let prompts: Vec<u64> = self
            .evaluation
            .iter()
            .map(|example| example.prompt)
            .collect();
        let found = agreement::agreement(&scores, &targets, &prompts);
        progress.say(&format!(
            "on {} held-out texts: Spearman {:.3}, slope {:.3}, mean distance {:.3}, {:.1} % of {} pairs in order",
            found.rows,
            found.spearman,
            found.slope,
            found.mae,
            100.0 * found.pairwise_accuracy,
            found.pairs
        ));
        let text = serde_json::to_string_pretty(&found).unwrap_or_default();
        write_whole(&self.config.out.join("agreement.json"), text.as_bytes())
    }

    fn write_adapter(&self, folder: &Path) -> Result<()> {
        let (names, values) = (self.policy.names(), self.policy.parameters());
        peft::write(folder, &self.policy.spec, &names, &values)
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

/// Which examples each step takes.
fn plan(config: &Config, train: &[Example]) -> Vec<Vec<usize>> {
    let mut plan = Vec::new();
    let most = config.steps.unwrap_or(usize::MAX);
    let epochs = if config.steps.is_some() {
        usize::MAX
    } else {
        config.epochs
    };
    for epoch in 0..epochs {
        let order = if config.no_shuffle {
            (0..train.len()).collect()
        } else {
            Random::new(config.seed ^ (epoch as u64 + 1).wrapping_mul(0x9e37_79b9))
                .order(train.len())
        };
        match config.batch_tokens {
            None => plan.extend(order.chunks(config.batch_pairs).map(<[usize]>::to_vec)),
            Some(tokens) => {
                let sizes = order.iter().map(|&place| train[place].tokens());
                let ranges = reference::by_tokens(sizes, tokens);
                plan.extend(ranges.into_iter().map(|range| order[range].to_vec()));
            }
        }
        if plan.len() >= most {
            plan.truncate(most);
            break;
        }
    }
    plan
}

/// Pairs, and what does not change about them: weights, and the reference's log-probabilities.
fn fixed(
    config: &Config,
    identity: &Identity,
    policy: &mut Policy,
    train: &[Example],
    evaluation: &[Example],
    progress: &dyn Progress,
) -> Result<Vec<Fixed>> {
    let all: Vec<&Example> = train.iter().chain(evaluation).collect();
    if !config.method.has_reference() {
        let of = |example: &&Example| Fixed {
            weight: example.weight,
            ref_chosen: 0.0,
            ref_rejected: 0.0,
        };
        return Ok(all.iter().map(of).collect());
    }
    let who = Who::named(&config.reference);
    let of_adapter = match &who {
        Who::Init => config.adapter.as_deref().map(adapter_sha256).transpose()?,
        Who::Base => None,
        Who::Adapter(folder) => Some(adapter_sha256(folder)?),
    };
    // A fresh adapter's term is zero: the reference is the bare base.
    let fingerprint = hash(&[
        &identity.model_revision,
        &identity.pairs_sha256,
        &of_adapter.unwrap_or_default(),
        &config.max_length.to_string(),
        &format!("{:?}", config.too_long),
        &config.device,
    ]);
    let default = config.out.join("reference.csv");
    let file = config.reference_logps.as_deref().unwrap_or(&default);
    let tokens = config.micro_batch_tokens;
    let known = reference::logps(policy, &who, &all, file, &fingerprint, tokens, progress)?;
    let pairs = all.iter().zip(known).enumerate();
    pairs
        .map(|(place, (example, known))| {
            let (ref_chosen, ref_rejected) = (known.chosen, known.rejected);
            if !ref_chosen.is_finite() || !ref_rejected.is_finite() {
                return Err(reference::not_finite(place + 1));
            }
            Ok(Fixed {
                weight: example.weight,
                ref_chosen,
                ref_rejected,
            })
        })
        .collect()
}

fn identify(config: &Config, files: &ModelFiles) -> Result<Identity> {
    if !config.pairs.is_file() {
        return Err(Error::source(&config.pairs, "is no file", "check the path"));
    }
    let mut identity = Identity {
        polyphony: env!("CARGO_PKG_VERSION").to_owned(),
        model_revision: files.revision()?,
        pairs_sha256: sha256_of(&config.pairs)?,
        adapter_sha256: config.adapter.as_deref().map(adapter_sha256).transpose()?,
        fingerprint: String::new(),
    };
    // Where things lie and how often they are saved does not change what is computed.
    let mut decides = config.clone();
    decides.out = "".into();
    decides.pairs = "".into();
    decides.adapter = None;
    decides.reference_logps = None;
    decides.checkpoint_every = 1;
    decides.keep_checkpoints = 1;
    decides.recompute = false;
    identity.fingerprint = hash(&[
        &decides.toml(),
        &identity.model_revision,
        &identity.pairs_sha256,
        identity.adapter_sha256.as_deref().unwrap_or_default(),
    ]);
    Ok(identity)
}

fn adapter_sha256(folder: &Path) -> Result<String> {
    let adapter = Adapter::read(folder)?;
    Ok(hash(&[
        &format!("{} {}", adapter.spec.alpha, adapter.spec.rslora),
        &sha256_of(&folder.join("adapter_model.safetensors"))?,
    ]))
}

fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

/// Refuses a folder that holds another run.
fn same_run(out: &Path, identity: &Identity) -> Result<()> {
    let Ok(text) = fs::read(out.join(RUN)) else {
        return Ok(());
    };
    let before: Option<Identity> = serde_json::from_slice(&text).ok();
    let what = match before {
        Some(before) if before.fingerprint == identity.fingerprint => return Ok(()),
        Some(before) if before.pairs_sha256 != identity.pairs_sha256 => "on other pairs",
        Some(before) if before.model_revision != identity.model_revision => "of another model",
        Some(before) if before.adapter_sha256 != identity.adapter_sha256 => "from another adapter",
        _ => "by another config: its config.toml says which",
    };
    let remedy = "choose another --out, or remove it";
    Err(Error::source(out, format!("holds a run {what}"), remedy))
}
