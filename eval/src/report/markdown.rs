//! `report.md`: the report as Markdown tables.

use std::fmt::Write as _;

use polyphony_model::encoder::text_tokenizer::LongTexts;

use super::Report;
use super::number::{number, percent, probability};
use crate::compare::overused_terms::OverusedTerm;
use crate::measures::measure::Direction;
use crate::measures::registry::{REWARD, ReportColumn, WORDS};
use crate::space::Space;
use crate::summary::{MeasureSummary, ModelSummary};

/// Renders the report as Markdown.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = String::from("# Evaluation\n\n");
    let k = report
        .options
        .get("k")
        .map(ToString::to_string)
        .unwrap_or_default();
    let reward = match &report.reward {
        Some(reward) => format!("Reward: {}.", reward.source),
        None => "No reward.".to_owned(),
    };
    let spaces = Space::ALL.map(|space| {
        let embedder = report.spaces.get(space);
        let windows = match (embedder.long_texts, embedder.max_tokens) {
            (Some(LongTexts::Mean), Some(most)) => {
                format!(" (long texts: the mean of windows of {most} tokens)")
            }
            _ => String::new(),
        };
        format!("{} by {}{windows}", space.name(), embedder.name)
    });
    line(
        &mut text,
        format_args!(
            "{} models, {} prompts, {k} texts of each to a prompt. {reward} Diversity: {}.",
            report.models.len(),
            report.prompt_count,
            spaces.join(", ")
        ),
    );
    line(
        &mut text,
        format_args!(
            "A value is the mean over prompts with its 95 % confidence interval; n is the number of prompts that it rests \
         on. n/a: undefined."
        ),
    );
    for warning in &report.warnings {
        line(&mut text, format_args!("> {}", cell(warning)));
    }
    models(&mut text, report);
    runs(&mut text, report);
    comparisons(&mut text, report);
    adapter_curves(&mut text, report);
    closer_than_people(&mut text, report);
    overused_terms(&mut text, report);
    cross_model_distances(&mut text, report);
    inputs(&mut text, report);
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{words}\n");
}

fn row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Writes the header row of a table.
fn head(text: &mut String, cells: &[String]) {
    row(text, cells);
    let _ = writeln!(text, "|{}", "---|".repeat(cells.len()));
}

/// Writes the table of models: a row per measure and a column per model, because models are few.
fn models(text: &mut String, report: &Report) {
    line(text, format_args!("## Models"));
    let names = report.models.iter().map(|model| cell(&model.marked_name()));
    let names: Vec<String> = [String::new()].into_iter().chain(names).collect();
    head(text, &names);
    for (at, measure) in report.measures.iter().enumerate() {
        let values = report
            .models
            .iter()
            .map(|model| value(model.values[at].1.as_ref()));
        let cells: Vec<String> = [title(measure)].into_iter().chain(values).collect();
        row(text, &cells);
    }
    text.push('\n');
}

/// Writes the table of runs: a row per measure and a column per run, after each model the standard deviation of its
/// runs' means.
fn runs(text: &mut String, report: &Report) {
    let models = report.models.iter().filter(|model| !model.runs.is_empty());
    let models: Vec<&ModelSummary> = models.collect();
    if models.is_empty() {
        return;
    }
    line(text, format_args!("## Runs"));
    line(
        text,
        format_args!(
            "The mean of each run over its own prompts with its standard error over prompts; sd: the standard \
             deviation of the means of the runs, at the prompts that all runs answered."
        ),
    );
    let mut names = vec![String::new()];
    for model in &models {
        let runs = model.runs.iter();
        names.extend(runs.map(|run| cell(&format!("{}@{}", model.name, run.seed))));
        names.push(format!("{}, sd", cell(&model.name)));
    }
    head(text, &names);
    for (at, measure) in report.measures.iter().enumerate() {
        let mut cells = vec![title(measure)];
        for model in &models {
            cells.extend(model.runs.iter().map(|run| match &run.values[at].1 {
                None => "n/a".to_owned(),
                Some(value) => match value.se {
                    Some(se) => format!("{} (± {})", number(value.mean), number(se)),
                    None => number(value.mean),
                },
            }));
            let sd = model.values[at].1.and_then(|value| value.sd_runs);
            cells.push(sd.map_or_else(|| "n/a".to_owned(), number));
        }
        row(text, &cells);
    }
    text.push('\n');
}

fn title(measure: &ReportColumn) -> String {
    let arrow = match measure.direction {
        Direction::Higher => " ↑",
        Direction::Lower => " ↓",
        Direction::Neither => "",
    };
    let exploratory = if measure.exploratory {
        " (exploratory)"
    } else {
        ""
    };
    format!("{}{arrow}{exploratory}", measure.title)
}

fn value(value: Option<&MeasureSummary>) -> String {
    let Some(value) = value else {
        return "n/a".to_owned();
    };
    let mean = interval(value.mean, value.ci_low.zip(value.ci_high));
    format!("{mean}, n = {}", value.prompts)
}

/// Formats a value with its confidence interval, if any.
fn interval(value: f64, bounds: Option<(f64, f64)>) -> String {
    match bounds {
        Some((low, high)) => format!("{} ({} to {})", number(value), number(low), number(high)),
        None => number(value),
    }
}

/// Writes the table of paired comparisons: a row per pair of models and leading measure.
fn comparisons(text: &mut String, report: &Report) {
    if report.comparisons.is_empty() {
        return;
    }
    line(text, format_args!("## Comparisons"));
    line(
        text,
        format_args!(
            "The second model minus the first, on the same prompts; p of the sign-flip permutation test (of the \
         test over prompts and runs where a model has several runs) after \
         Holm's correction for all differences in primary measures; exploratory: not in that family, so not \
         corrected. All measures and tests are in report.json."
        ),
    );
    let names = [
        "",
        "",
        "measure",
        "difference",
        "p (Holm)",
        "prompts",
        "up / down",
        "at equal length",
    ];
    head(text, &names.map(str::to_owned));
    let leading = [REWARD, "semantic", "style", "homogenization", WORDS];
    // Declared primary measures are shown whatever they are.
    let is_declared = report
        .options
        .get("primary")
        .is_some_and(|of| !of.is_null());
    let is_shown = |measure: &ReportColumn| {
        leading.contains(&measure.name) || is_declared && !measure.exploratory
    };
    for comparison in &report.comparisons {
        let values = comparison.values.iter().zip(&report.measures);
        for ((_, difference), measure) in values.filter(|(_, measure)| is_shown(measure)) {
            let Some(defined) = difference else { continue };
            let adjusted = defined.length_adjusted.map_or_else(
                || "n/a".to_owned(),
                |at| interval(at.difference, Some((at.ci_low, at.ci_high))),
            );
            row(
                text,
                &[
                    cell(&comparison.a),
                    cell(&comparison.b),
                    measure.title.to_owned(),
                    interval(defined.difference, Some((defined.ci_low, defined.ci_high))),
                    defined
                        .p_holm
                        .map_or_else(|| "exploratory".to_owned(), probability),
                    defined.prompts.to_string(),
                    format!("{} / {}", defined.up, defined.down),
                    adjusted,
                ],
            );
        }
    }
    text.push('\n');
}

/// Writes the table of adapters at several scales: a row per model.
fn adapter_curves(text: &mut String, report: &Report) {
    if report.adapter_curves.is_empty() {
        return;
    }
    line(text, format_args!("## Adapter scales"));
    line(
        text,
        format_args!(
            "An adapter's update multiplied by a scale: 0 is the model without it, 1 the adapter as trained."
        ),
    );
    let names = ["adapter", "scale", "reward", "semantic", "style"];
    head(text, &names.map(str::to_owned));
    for curve in &report.adapter_curves {
        for point in &curve.points {
            let mut models = report.models.iter();
            let model = models.find(|model| model.name == point.model);
            let of = |column: &str| value(model.and_then(|model| model.value(column)).as_ref());
            let scale = point.adapter_scale.to_string();
            row(
                text,
                &[
                    cell(&curve.adapter),
                    scale,
                    of(REWARD),
                    of("semantic"),
                    of("style"),
                ],
            );
        }
    }
    text.push('\n');
}

/// Writes the table of how often two stories are closer than two people's: a row per pair of models and space.
fn closer_than_people(text: &mut String, report: &Report) {
    if report.closer_than_people.is_empty() {
        return;
    }
    line(text, format_args!("## Closer than people?"));
    line(
        text,
        format_args!(
            "The share of pairs of a model's stories (and of two models' stories) that are closer than two \
         people's stories to the same prompt; mean over prompts. 50 %: as diverse as people."
        ),
    );
    head(
        text,
        &["", "", "space", "closer", "prompts"].map(str::to_owned),
    );
    for entry in &report.closer_than_people {
        let bounds = entry.ci_low.zip(entry.ci_high);
        let bounds = bounds.map(|(low, high)| format!(" ({} to {})", percent(low), percent(high)));
        row(
            text,
            &[
                cell(&entry.a),
                cell(&entry.b),
                entry.space.to_owned(),
                percent(entry.share) + &bounds.unwrap_or_default(),
                entry.prompts.to_string(),
            ],
        );
    }
    text.push('\n');
}

/// Writes a table of overused terms for each model: a row per term.
fn overused_terms(text: &mut String, report: &Report) {
    if report.overused_terms.is_empty() {
        return;
    }
    line(text, format_args!("## Overused words and phrases"));
    line(
        text,
        format_args!(
            "Words and phrases of two or three words that a model uses more than people do to the same prompts: p of \
         the exchange test over prompts after Benjamini and Hochberg's correction for all tested terms, the ratio \
         of the rates of model and people with its 95 % confidence interval over prompts, and the rates per 10,000 \
         words. In order of the lower end of the interval."
        ),
    );
    for entry in &report.overused_terms {
        line(
            text,
            format_args!(
                "### {}\n\n{} of {} tested terms, at {} prompts.",
                cell(&entry.model),
                entry.overused,
                entry.tested,
                entry.prompts
            ),
        );
        if entry.terms.is_empty() {
            continue;
        }
        let names = [
            "term",
            "times as often",
            "model",
            "people",
            "prompts (model / people)",
            "p (BH)",
            "examples",
        ];
        head(text, &names.map(str::to_owned));
        for OverusedTerm { term, examples } in &entry.terms {
            let examples = examples.iter().map(|example| {
                let [before, words, after] =
                    [&example.before, &example.text, &example.after].map(|part| cell(part));
                format!("{before}**{words}**{after}")
            });
            row(
                text,
                &[
                    cell(&term.term),
                    match term.rate_ratio {
                        Some(ratio) => interval(ratio, Some(term.ci_low).zip(term.ci_high)),
                        None => format!("only the model (at least {})", number(term.ci_low)),
                    },
                    number(1e4 * term.model_rate),
                    number(1e4 * term.people_rate),
                    format!("{} / {}", term.model_prompts, term.people_prompts),
                    probability(term.p_bh),
                    examples.collect::<Vec<_>>().join("<br>"),
                ],
            );
        }
        text.push('\n');
    }
}

/// Writes the table of cross-model distances: a row per pair of models and space.
fn cross_model_distances(text: &mut String, report: &Report) {
    if report.cross_model_distance.is_empty() {
        return;
    }
    line(text, format_args!("## Cross-model distance"));
    line(
        text,
        format_args!(
            "The mean of 1 - cosine between texts of two models to the same prompt; a model with itself: between \
             its own texts. Over the prompts that all models answered, where there are any."
        ),
    );
    let names = ["", "", "space", "distance", "prompts"];
    head(text, &names.map(str::to_owned));
    for distance in &report.cross_model_distance {
        row(
            text,
            &[
                cell(&distance.a),
                cell(&distance.b),
                distance.space.to_owned(),
                interval(distance.distance, distance.ci_low.zip(distance.ci_high)),
                distance.prompts.to_string(),
            ],
        );
    }
    text.push('\n');
}

fn inputs(text: &mut String, report: &Report) {
    line(text, format_args!("## Inputs"));
    head(text, &["file", "texts", "SHA-256"].map(str::to_owned));
    for input in &report.inputs {
        row(
            text,
            &[
                cell(&input.file),
                input.responses.to_string(),
                input.sha256.clone(),
            ],
        );
    }
    text.push('\n');
    let options = report
        .options
        .iter()
        .map(|(name, value)| format!("{name} {value}"));
    let versions = report
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"));
    line(
        text,
        format_args!(
            "Made by {}; {}.",
            versions.collect::<Vec<_>>().join(", "),
            options.collect::<Vec<_>>().join(", ")
        ),
    );
}

/// Escapes text for a table cell, so that it neither breaks the table nor acts as markup.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' | '<' | '>' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' | '!' => {
                safe.push('\\');
                safe.push(letter);
            }
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}
