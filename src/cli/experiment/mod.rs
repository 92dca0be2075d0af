//! `polyphony experiment`: conditions x random seeds from one TOML file; each step runs once, a killed experiment
//! resumes, and one report compares the conditions.

mod differences;
mod file;
mod options;
mod plan;
mod record;
mod summary;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Parser};
use polyphony_io::Error;
use polyphony_io::atomic::{lock_folder, write_atomic};
use polyphony_io::error::ErrorKind;
use polyphony_io::hash::{Sha256, hex, sha256_file};

use self::file::ExperimentFile;
use self::plan::{Plan, Step};
use self::record::{Record, StepRecord};
use super::terminal;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Experiment: a TOML file with the shared options of ingest, pairs, train, generate and eval, and the conditions
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    /// Output folder: pairs, runs, outputs, report, `experiment.json`; the same command resumes a killed experiment
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Put the table `small` of the file over the others: a variant for a machine without a GPU
    #[arg(long)]
    small: bool,
    /// Store, in place of the file's `store` or `ingest`
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Base model, in place of the file's
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Device of all models, in place of the file's
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Print the commands and their state, and run nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let bytes = std::fs::read(&arguments.file).map_err(Error::io("read", &arguments.file))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::input(&arguments.file, "is no UTF-8 text", "save it as UTF-8"))?;
    let mut experiment = ExperimentFile::parse(&arguments.file, &text, arguments.small)?;
    if let Some(store) = arguments.store {
        (experiment.store, experiment.ingest) = (Some(store), None);
    }
    experiment.model = arguments.model.unwrap_or(experiment.model);
    experiment.device = arguments.device.or(experiment.device);
    let plan = Plan::new(&experiment, &arguments.out)?;
    let differences = differences::check(&arguments.file, &experiment)?;
    for step in &plan.steps {
        parse(step)?;
    }
    let mut record = Record::read(&arguments.out)?;
    if arguments.dry_run {
        terminal::result(&summary::commands(&plan, &record));
        return Ok(());
    }
    std::fs::create_dir_all(&arguments.out).map_err(Error::io("create", &arguments.out))?;
    let _lock = lock_folder(&arguments.out, |process| {
        let message = format!("process {process} runs an experiment in it");
        Error::input(&arguments.out, message, "wait, or choose another --out")
    })?;
    polyphony_version().clone_into(&mut record.version);
    record.file.clone_from(&arguments.file);
    record.file_sha256 = hex(&Sha256::digest(&text));
    record.small = arguments.small;
    record.differences = summary::by_condition(&experiment, differences);
    record.failed.clear();
    let mut experiment_run = ExperimentRun {
        out: &arguments.out,
        record,
        hashes: BTreeMap::new(),
    };
    for number in 0..plan.steps.len() {
        experiment_run.step(&plan.steps, number).await?;
    }
    let is_done = |step: usize| experiment_run.hashes.contains_key(&plan.steps[step].name);
    if let Some(report) = plan.report(&experiment, &arguments.out, is_done)? {
        parse(&report)?;
        let mut steps = plan.steps.clone();
        steps.push(report);
        experiment_run.step(&steps, plan.steps.len()).await?;
    }
    let record = experiment_run.record;
    let text = summary::markdown(&experiment, &plan, &record);
    write_atomic(&arguments.out.join("README.md"), text.as_bytes())?;
    terminal::result(&summary::terminal_table(&plan, &record));
    match record.failed.iter().next() {
        None => Ok(()),
        Some((name, error)) => Err(Error::input(
            &arguments.out,
            format!(
                "{} steps failed, the first: {name}: {error}",
                record.failed.len()
            ),
            "mend it and run the same command again: steps that are done are not repeated",
        )
        .into()),
    }
}

const fn polyphony_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The parsed command of a step.
fn parse(step: &Step) -> anyhow::Result<super::Arguments> {
    let words = std::iter::once("polyphony").chain(step.command.iter().map(String::as_str));
    super::Arguments::try_parse_from(words).map_err(|error| {
        let message = terminal::one_line(&error.to_string());
        anyhow::anyhow!("{}: {message}", step.name)
    })
}

/// A running experiment.
struct ExperimentRun<'a> {
    out: &'a Path,
    record: Record,
    /// SHA-256 of the outputs of the steps that are done.
    hashes: BTreeMap<String, String>,
}

impl ExperimentRun<'_> {
    /// Runs a step that is not done yet. A failure is recorded, and the steps that need its output are left out.
    async fn step(&mut self, steps: &[Step], number: usize) -> anyhow::Result<()> {
        let step = &steps[number];
        let mut inputs = BTreeMap::new();
        for need in &step.needs {
            let need = &steps[*need].name;
            let Some(hash) = self.hashes.get(need) else {
                let message = format!("needs `{need}`, which failed");
                self.record.failed.insert(step.name.clone(), message);
                return Ok(self.record.write(self.out)?);
            };
            inputs.insert(need.clone(), hash.clone());
        }
        match self.record.is_done(step, &inputs) {
            Ok(true) => {
                let hash = self.record.steps[&step.name].sha256.clone();
                self.hashes.insert(step.name.clone(), hash);
                return Ok(());
            }
            Ok(false) => {}
            Err(error) => return self.failed(step, error.into()),
        }
        terminal::print_message(&format!(
            "\n[{}/{}] {}{}\n$ polyphony {}",
            number + 1,
            steps.len(),
            step.name,
            summary::remaining(steps, number, &self.record),
            summary::quoted(&step.command)
        ));
        let start = Instant::now();
        let result = run_command(step).await;
        match result.and_then(|()| Ok(sha256_file(&step.output)?)) {
            Ok(sha256) => {
                let before = self.record.steps.get(&step.name);
                let before = before.filter(|before| before.command == step.command);
                let before = before.map_or(0.0, |before| before.seconds);
                let record = StepRecord {
                    command: step.command.clone(),
                    inputs,
                    output: step.output.clone(),
                    sha256: sha256.clone(),
                    seconds: before + start.elapsed().as_secs_f64().round(),
                };
                self.record.steps.insert(step.name.clone(), record);
                self.hashes.insert(step.name.clone(), sha256);
                Ok(self.record.write(self.out)?)
            }
            Err(error) => self.failed(step, error),
        }
    }

    /// Records a failure. Ctrl-C ends the experiment.
    fn failed(&mut self, step: &Step, error: anyhow::Error) -> anyhow::Result<()> {
        let is_cancelled = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<Error>())
            .any(|error| error.kind() == ErrorKind::Cancelled);
        if is_cancelled {
            return Err(error.context("the experiment stopped; the same command resumes it"));
        }
        let message = format!("{error:#}");
        terminal::print_message(&format!("{} failed: {message}", step.name));
        self.record.failed.insert(step.name.clone(), message);
        Ok(self.record.write(self.out)?)
    }
}

/// Runs a command of the program in this process.
async fn run_command(step: &Step) -> anyhow::Result<()> {
    let arguments = parse(step)?;
    // Training and generation stop at Ctrl-C by themselves, after a checkpoint.
    let stops_itself = matches!(step.command[0].as_str(), "train" | "generate");
    let _exit = (!stops_itself).then(terminal::exit_on_ctrl_c);
    Box::pin(super::dispatch(arguments)).await
}
