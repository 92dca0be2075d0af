//! Plan: the commands of an experiment in order, each with its output and the steps whose outputs it reads.

use std::path::{Path, PathBuf};

use polyphony_io::hash::short_id;
use polyphony_io::{Error, Result};
use polyphony_trainer::method::Method;
use toml::{Table, Value};

use super::file::{Condition, ExperimentFile, merge};
use super::options::{flags, text};

/// A command of the experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// A name such as `train ddpo@1`.
    pub(super) name: String,
    /// The arguments of `polyphony`.
    pub(super) command: Vec<String>,
    /// The file whose hash identifies the result.
    pub(super) output: PathBuf,
    /// The steps whose outputs it reads, as positions in the plan.
    pub(super) needs: Vec<usize>,
}

/// A training run of a condition, or the base model with a random seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// `NAME@SEED`, or `NAME` where the condition has one seed.
    pub(super) name: String,
    /// The step that writes its stories.
    pub(super) generate: usize,
}

/// All steps up to the report, whose inputs are only known once they ended.
#[derive(Debug)]
pub(super) struct Plan {
    /// The steps, each after those that it needs.
    pub(super) steps: Vec<Step>,
    /// The runs of each condition, in the order of the file.
    pub(super) runs: Vec<(String, Vec<Run>)>,
    /// The step that trains the reward model.
    reward: Option<usize>,
    /// The store.
    store: PathBuf,
}

/// Fields that the experiment sets itself.
const PAIRS_RESERVED: [&str; 4] = ["store", "out", "sft", "dataset"];
const TRAIN_RESERVED: [&str; 7] = [
    "config",
    "model",
    "data",
    "adapter",
    "out",
    "seed",
    "reference_logps",
];
const GENERATE_RESERVED: [&str; 8] = [
    "model",
    "adapter",
    "adapter_scale",
    "out",
    "name",
    "seed",
    "write_requests",
    "read_responses",
];
/// Fields of `generate` that all conditions share: they choose the prompts.
const PROMPT_FIELDS: [&str; 4] = ["prompts", "split", "skip", "limit"];
const EVAL_RESERVED: [&str; 3] = ["out", "verify", "gold"];

/// The prompts that stories are written to: those of a split with stories by two people or more, each once.
fn prompts_query(split: &str, file: &Path) -> String {
    let quoted = |text: &str| text.replace('\'', "''");
    format!(
        "COPY (SELECT prompt_id, prompt FROM (SELECT prompt_id, prompt, row_number() OVER (PARTITION BY \
         prompt_key ORDER BY prompt_id) AS post FROM prompts WHERE split = '{}' AND prompt_key IN (SELECT \
         prompts.prompt_key FROM responses JOIN prompts ON prompts.prompt_id = responses.prompt_id GROUP BY \
         prompts.prompt_key HAVING count(*) > 1)) WHERE post = 1 ORDER BY prompt_id) TO '{}'",
        quoted(split),
        quoted(&file.display().to_string())
    )
}

/// All stories with their votes, as data of a reward model.
fn votes_query(file: &Path) -> String {
    format!(
        "COPY (SELECT prompt, text AS response, responses.score, split FROM responses JOIN prompts ON \
         prompts.prompt_id = responses.prompt_id ORDER BY response_id) TO '{}'",
        file.display().to_string().replace('\'', "''")
    )
}

/// The options of `train` of a condition: the shared ones, those of its method, its own.
pub(super) fn train_table(experiment: &ExperimentFile, condition: &Condition) -> Table {
    let mut table = experiment.train.clone();
    let methods: Vec<(String, Table)> = table
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_table()?.clone())))
        .collect();
    for (name, _) in &methods {
        table.remove(name);
    }
    let own = methods.into_iter().find(|(name, _)| {
        condition
            .method
            .is_some_and(|method| method.name() == name.as_str())
    });
    if let Some((_, own)) = own {
        merge(&mut table, own);
    }
    merge(&mut table, condition.train.clone());
    table
}

/// The options of `pairs` or `generate` of a condition.
pub(super) fn merged(shared: &Table, own: &Table) -> Table {
    let mut table = shared.clone();
    merge(&mut table, own.clone());
    table
}

impl Plan {
    /// Plans an experiment whose files go to `out`.
    ///
    /// # Errors
    /// When an option is not one of its command.
    pub(super) fn new(experiment: &ExperimentFile, out: &Path) -> Result<Self> {
        let mut planner = Planner {
            experiment,
            out,
            plan: Self {
                steps: Vec::new(),
                runs: Vec::new(),
                reward: None,
                store: experiment.store.clone().unwrap_or(out.join("store")),
            },
            pairs: Vec::new(),
            adapters: Vec::new(),
        };
        planner.check_methods()?;
        let ingest = planner.ingest()?;
        let prompts = planner.prompts(ingest)?;
        for condition in &experiment.conditions {
            planner.condition(condition, ingest, prompts)?;
        }
        planner.reward(ingest)?;
        Ok(planner.plan)
    }

    /// The report on the runs whose stories are there.
    ///
    /// # Errors
    /// When an option is not one of `eval`.
    pub(super) fn report(
        &self,
        experiment: &ExperimentFile,
        out: &Path,
        is_done: impl Fn(usize) -> bool,
    ) -> Result<Option<Step>> {
        let mut command = vec!["eval".to_owned()];
        let mut needs = Vec::new();
        for run in self.runs.iter().flat_map(|(_, runs)| runs) {
            if is_done(run.generate) {
                let file = self.steps[run.generate].output.display();
                command.push(format!("{}={file}", run.name));
                needs.push(run.generate);
            }
        }
        if needs.is_empty() {
            return Ok(None);
        }
        command.push(format!("--gold={}", self.store.display()));
        if let Some(reward) = self.reward.filter(|step| is_done(*step)) {
            let folder = out.join("reward");
            // The adapter of the lowest loss on held-out votes, where there were any.
            let best = folder.join("best");
            let folder = if best.is_dir() { best } else { folder };
            command.push(format!("--reward={}", folder.display()));
            needs.push(reward);
        }
        if let (Some(device), false) = (&experiment.device, experiment.eval.contains_key("device"))
        {
            command.push(format!("--device={device}"));
        }
        command.extend(flags("eval", "eval", &experiment.eval, &EVAL_RESERVED)?);
        command.push(format!("--out={}", out.join("report").display()));
        Ok(Some(Step {
            name: "report".to_owned(),
            command,
            output: out.join("report").join("report.json"),
            needs,
        }))
    }
}

/// The plan while it is made.
struct Planner<'a> {
    experiment: &'a ExperimentFile,
    out: &'a Path,
    plan: Plan,
    /// The pairs by their options.
    pairs: Vec<(Table, usize)>,
    /// The adapters by condition and random seed.
    adapters: Vec<(&'a str, u64, usize)>,
}

impl<'a> Planner<'a> {
    fn push(
        &mut self,
        name: String,
        command: Vec<String>,
        output: PathBuf,
        needs: impl IntoIterator<Item = Option<usize>>,
    ) -> usize {
        self.plan.steps.push(Step {
            name,
            command,
            output,
            needs: needs.into_iter().flatten().collect(),
        });
        self.plan.steps.len() - 1
    }

    /// Flags of a command from its table, with the experiment's device.
    fn flags(
        &self,
        command: &'static str,
        place: &str,
        table: &Table,
        reserved: &[&str],
    ) -> Result<Vec<String>> {
        let mut words = flags(command, place, table, reserved)?;
        if let (Some(device), false) = (&self.experiment.device, table.contains_key("device")) {
            words.push(format!("--device={device}"));
        }
        Ok(words)
    }

    /// Checks that the tables in `train` are named after methods.
    fn check_methods(&self) -> Result<()> {
        let methods = [
            Method::Sft,
            Method::Dpo,
            Method::Ddpo,
            Method::Orpo,
            Method::Dorpo,
        ]
        .map(Method::name);
        for (name, value) in &self.experiment.train {
            if value.is_table() && !methods.contains(&name.as_str()) {
                return Err(Error::Unknown {
                    what: "method",
                    given: format!("train.{name}"),
                    known: methods.join(", "),
                });
            }
        }
        Ok(())
    }

    fn ingest(&mut self) -> Result<Option<usize>> {
        let Some(table) = &self.experiment.ingest else {
            return Ok(None);
        };
        let mut table = table.clone();
        let sources = match table.remove("sources") {
            Some(Value::Array(sources)) if !sources.is_empty() => sources,
            _ => {
                return Err(Error::config(
                    "ingest.sources",
                    "is no list of files, folders or data sets",
                    "write `sources = [\"dump/\"]`",
                ));
            }
        };
        let mut command = vec!["ingest".to_owned()];
        for source in &sources {
            command.push(text("ingest", "sources", source)?);
        }
        command.extend(flags("ingest", "ingest", &table, &["store"])?);
        command.push(format!("--store={}", self.plan.store.display()));
        let output = self.plan.store.join("manifest.json");
        Ok(Some(self.push("ingest".to_owned(), command, output, [])))
    }

    /// The file of prompts, where the experiment does not name one.
    fn prompts(&mut self, ingest: Option<usize>) -> Result<Option<usize>> {
        let table = &self.experiment.generate;
        if table.contains_key("prompts") {
            return Ok(None);
        }
        let split = match table.get("split") {
            Some(split) => text("generate", "split", split)?,
            None => "test".to_owned(),
        };
        let file = self.out.join("prompts.parquet");
        let store = format!("--store={}", self.plan.store.display());
        let query = prompts_query(&split, &file);
        let command = ["sql", &store, "-c", &query].map(str::to_owned).to_vec();
        Ok(Some(self.push(
            "prompts".to_owned(),
            command,
            file,
            [ingest],
        )))
    }

    /// The pairs of a condition; conditions with equal options share them. SFT learns the candidates beside them.
    fn pairs(&mut self, condition: &Condition, ingest: Option<usize>) -> Result<usize> {
        let table = merged(&self.experiment.pairs, &condition.pairs);
        if let Some((_, step)) = self.pairs.iter().find(|(other, _)| *other == table) {
            return Ok(*step);
        }
        let place = format!("condition {}: pairs", condition.name);
        let experiment = self.experiment;
        let users = || {
            let all = experiment.conditions.iter();
            all.filter(|other| merged(&experiment.pairs, &other.pairs) == table)
        };
        let is_of = |other: &&Condition, test: fn(Method) -> bool| other.method.is_some_and(test);
        let first = users().find(|other| is_of(other, Method::has_pairs));
        let name = &first.unwrap_or(condition).name;
        let file = self.out.join("pairs").join(format!("{name}.parquet"));
        let mut command = vec!["pairs".to_owned()];
        command.push(format!("--store={}", self.plan.store.display()));
        command.extend(self.flags("pairs", &place, &table, &PAIRS_RESERVED)?);
        if users().any(|other| is_of(&other, |method| method == Method::Sft)) {
            command.push(format!("--sft={}", sft_file(&file).display()));
        }
        command.push(format!("--out={}", file.display()));
        let step = self.push(format!("pairs {name}"), command, file, [ingest]);
        self.pairs.push((table, step));
        Ok(step)
    }

    fn condition(
        &mut self,
        condition: &'a Condition,
        ingest: Option<usize>,
        prompts: Option<usize>,
    ) -> Result<()> {
        let seeds = self.experiment.seeds_of(condition);
        let pairs = match condition.method {
            Some(_) => Some(self.pairs(condition, ingest)?),
            None => None,
        };
        let mut runs = Vec::new();
        for seed in seeds {
            let name = if seeds.len() > 1 {
                format!("{}@{seed}", condition.name)
            } else {
                condition.name.clone()
            };
            let train = match (condition.method, pairs) {
                (Some(method), Some(pairs)) => {
                    Some(self.train(condition, method, pairs, *seed, &name)?)
                }
                _ => None,
            };
            let generate = self.generate(condition, train, prompts, *seed, &name)?;
            runs.push(Run { name, generate });
        }
        self.plan.runs.push((condition.name.clone(), runs));
        Ok(())
    }

    fn train(
        &mut self,
        condition: &'a Condition,
        method: Method,
        pairs: usize,
        seed: u64,
        run: &str,
    ) -> Result<usize> {
        let experiment = self.experiment;
        let table = train_table(experiment, condition);
        let place = format!("condition {}: train", condition.name);
        let file = &self.plan.steps[pairs].output;
        let data = match method {
            Method::Sft => sft_file(file),
            _ => file.clone(),
        };
        let mut command = vec!["train".to_owned(), method.name().to_owned()];
        command.push(format!("--model={}", experiment.model));
        command.push(format!("--data={}", data.display()));
        let start = condition.adapter.as_deref().and_then(|name| {
            let of_name = || self.adapters.iter().filter(|(other, ..)| *other == name);
            of_name()
                .find(|(_, other, _)| *other == seed)
                .or_else(|| of_name().next())
                .map(|(_, _, step)| *step)
        });
        if let Some(start) = start {
            let adapter = self.plan.steps[start].output.parent();
            command.push(format!(
                "--adapter={}",
                adapter.unwrap_or(self.out).display()
            ));
        }
        command.extend(self.flags("train", &place, &table, &TRAIN_RESERVED)?);
        if method.has_reference() {
            // Runs on the same texts with the same initial policy share the reference's log-probabilities.
            let start = start.map_or("", |step| self.plan.steps[step].name.as_str());
            let field = |name: &str| table.get(name).map_or(String::new(), Value::to_string);
            let (length, overlength) = (field("max_length"), field("overlength"));
            let key = [
                &self.plan.steps[pairs].name,
                start,
                &length,
                &overlength,
                &field("reference"),
                &field("device"),
            ];
            let file = format!("{}.jsonl", short_id(&key));
            let file = self.out.join("reference").join(file);
            command.push(format!("--reference-logps={}", file.display()));
        }
        command.push(format!("--seed={seed}"));
        let folder = self.out.join("runs").join(run);
        command.push(format!("--out={}", folder.display()));
        let output = folder.join("adapter_model.safetensors");
        let step = self.push(
            format!("train {run}"),
            command,
            output,
            [Some(pairs), start],
        );
        self.adapters.push((&condition.name, seed, step));
        Ok(step)
    }

    fn generate(
        &mut self,
        condition: &Condition,
        train: Option<usize>,
        prompts: Option<usize>,
        seed: u64,
        run: &str,
    ) -> Result<usize> {
        let place = format!("condition {}: generate", condition.name);
        for field in PROMPT_FIELDS {
            if condition.generate.contains_key(field) {
                return Err(Error::config(
                    format!("{place}.{field}"),
                    "all conditions write to the same prompts",
                    "move it to the table `generate` of the experiment",
                ));
            }
        }
        let mut table = merged(&self.experiment.generate, &condition.generate);
        let mut command = vec!["generate".to_owned()];
        command.push(format!("--model={}", self.experiment.model));
        if let Some(adapter) = train.and_then(|step| self.plan.steps[step].output.parent()) {
            command.push(format!("--adapter={}", adapter.display()));
        }
        if let Some(prompts) = prompts {
            table.remove("split");
            let file = self.plan.steps[prompts].output.display();
            command.push(format!("--prompts={file}"));
        }
        command.extend(self.flags("generate", &place, &table, &GENERATE_RESERVED)?);
        command.push(format!("--name={run}"));
        command.push(format!("--seed={seed}"));
        let output = self.out.join("outputs").join(format!("{run}.jsonl"));
        command.push(format!("--out={}", output.display()));
        Ok(self.push(format!("generate {run}"), command, output, [train, prompts]))
    }

    fn reward(&mut self, ingest: Option<usize>) -> Result<()> {
        let Some(table) = &self.experiment.reward else {
            return Ok(());
        };
        if self.experiment.eval.contains_key("reward") {
            return Err(Error::config(
                "eval.reward",
                "conflicts with the table `reward`, which trains one",
                "leave out one of them",
            ));
        }
        let mut table = table.clone();
        let model = match table.remove("model") {
            Some(model) => text("reward", "model", &model)?,
            None => self.experiment.model.clone(),
        };
        let votes = self.out.join("votes.parquet");
        let store = format!("--store={}", self.plan.store.display());
        let query = votes_query(&votes);
        let command = ["sql", &store, "-c", &query].map(str::to_owned).to_vec();
        let step = self.push("votes".to_owned(), command, votes.clone(), [ingest]);
        let mut command = vec!["train".to_owned(), "reward".to_owned()];
        command.push(format!("--model={model}"));
        command.push(format!("--data={}", votes.display()));
        let reserved = TRAIN_RESERVED.map(|field| if field == "seed" { "" } else { field });
        command.extend(self.flags("train", "reward", &table, &reserved)?);
        let folder = self.out.join("reward");
        command.push(format!("--out={}", folder.display()));
        let output = folder.join("adapter_model.safetensors");
        let reward = self.push("train reward".to_owned(), command, output, [Some(step)]);
        self.plan.reward = Some(reward);
        Ok(())
    }
}

/// The file of SFT examples beside a file of pairs.
fn sft_file(pairs: &Path) -> PathBuf {
    pairs.with_extension("sft.parquet")
}
