//! Summary of an experiment: the commands and their state, the time that remains, the table of runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use indicatif::HumanDuration;

use super::file::ExperimentFile;
use super::plan::{Plan, Step};
use super::record::Record;

/// The commands of a plan, each after its state.
pub(super) fn commands(plan: &Plan, record: &Record) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        let state = state(step, record);
        let _ = writeln!(text, "# {} ({state})", step.name);
        let _ = writeln!(text, "polyphony {}", quoted(&step.command));
    }
    text.push_str("# report (of the runs that are done)");
    text
}

/// A command line with quotes where a shell needs them.
pub(super) fn quoted(command: &[String]) -> String {
    let is_plain = |word: &str| {
        let plain = |letter: char| letter.is_alphanumeric() || "-_=./@:+,".contains(letter);
        !word.is_empty() && word.chars().all(plain)
    };
    let words = command.iter().map(|word| {
        if is_plain(word) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What is known of a step.
fn state(step: &Step, record: &Record) -> String {
    if record.failed.contains_key(&step.name) {
        return "failed".to_owned();
    }
    match record.steps.get(&step.name) {
        Some(before) if before.command == step.command => {
            format!("done in {}", duration(before.seconds))
        }
        Some(_) => "done by another command".to_owned(),
        None => "open".to_owned(),
    }
}

fn duration(seconds: f64) -> String {
    HumanDuration(Duration::from_secs_f64(seconds.max(0.0))).to_string()
}

/// The kind of a step: steps of one kind take about the same time.
fn kind(step: &Step) -> String {
    let words = &step.command;
    match words[0].as_str() {
        "train" => format!("train {}", words[1]),
        other => other.to_owned(),
    }
}

/// The time that the steps from `number` on take, judged by the mean of the steps of their kind that are done:
/// `, about 2 hours left`. Empty before anything is known.
pub(super) fn remaining(steps: &[Step], number: usize, record: &Record) -> String {
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for step in steps {
        if let Some(before) = record.steps.get(&step.name) {
            times.entry(kind(step)).or_default().push(before.seconds);
        }
    }
    let mean = |times: &Vec<f64>| times.iter().sum::<f64>() / times.len() as f64;
    let (mut seconds, mut unknown) = (0.0, 0);
    for step in &steps[number..] {
        match times.get(&kind(step)) {
            Some(times) => seconds += mean(times),
            None => unknown += 1,
        }
    }
    match (seconds > 0.0, unknown) {
        (false, _) => String::new(),
        (true, 0) => format!(", about {} left", duration(seconds)),
        (true, unknown) => format!(
            ", more than {} left ({unknown} steps of unknown length)",
            duration(seconds)
        ),
    }
}

/// Differences by option and condition.
pub(super) fn by_condition(
    experiment: &ExperimentFile,
    differences: BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let names = || {
        experiment
            .conditions
            .iter()
            .map(|condition| condition.name.clone())
    };
    differences
        .into_iter()
        .map(|(option, values)| (option, names().zip(values).collect()))
        .collect()
}

/// The steps with their state, as a table.
pub(super) fn terminal_table(plan: &Plan, record: &Record) -> String {
    let width = plan.steps.iter().map(|step| step.name.len()).max();
    let width = width.unwrap_or(0).max("report".len());
    let mut lines: Vec<String> = Vec::new();
    for step in &plan.steps {
        lines.push(format!("{:width$}  {}", step.name, state(step, record)));
    }
    let report = match (record.steps.get("report"), record.failed.get("report")) {
        (_, Some(_)) => "failed".to_owned(),
        (Some(done), None) => format!(
            "done in {}: {}",
            duration(done.seconds),
            done.output.display()
        ),
        (None, None) => "no run is done".to_owned(),
    };
    lines.push(format!("{:width$}  {report}", "report"));
    lines.join("\n")
}

/// The summary as Markdown: conditions with their differences, runs with their state and cost, failures.
pub(super) fn markdown(experiment: &ExperimentFile, plan: &Plan, record: &Record) -> String {
    let mut text = format!(
        "# Experiment {}\n\nModel {}, {} conditions. The comparison is in [report/report.md](report/report.md), \
         the commands are in `experiment.json`.\n",
        record.file.display(),
        experiment.model,
        experiment.conditions.len()
    );
    let options: Vec<&String> = record.differences.keys().collect();
    let _ = write!(text, "\n| condition |");
    for option in &options {
        let _ = write!(text, " {option} |");
    }
    let _ = write!(text, " runs done | training | generation |\n|---|");
    text.push_str(&"---|".repeat(options.len()));
    text.push_str("--:|--:|--:|\n");
    for (name, runs) in &plan.runs {
        let _ = write!(text, "| {name} |");
        for option in &options {
            let value = record.differences[*option]
                .get(name)
                .map_or("", String::as_str);
            let _ = write!(text, " {} |", value.replace('|', "\\|"));
        }
        let seconds = |kind: &str, run: &str| {
            let step = record.steps.get(&format!("{kind} {run}"));
            step.map_or(0.0, |step| step.seconds)
        };
        let total = |kind: &str| runs.iter().map(|run| seconds(kind, &run.name)).sum::<f64>();
        let done = |step: usize| record.steps.contains_key(&plan.steps[step].name);
        let done = runs.iter().filter(|run| done(run.generate)).count();
        let _ = writeln!(
            text,
            " {done} of {} | {} | {} |",
            runs.len(),
            duration(total("train")),
            duration(total("generate"))
        );
    }
    if !record.failed.is_empty() {
        text.push_str("\n## Missing\n\n");
        for (name, error) in &record.failed {
            let _ = writeln!(text, "- {name}: {error}");
        }
    }
    text
}
