//! Evaluation run: `polyphony eval` as one call, from the files of outputs to the report.

use std::fs;

use polyphony_engine::{Error, Result};
use polyphony_io::atomic::lock_folder;
use polyphony_io::progress::Progress;
use polyphony_model::reward::RewardModel;

use crate::config::{Equivalence, EvalConfig, RewardSource, SpaceSource};
use crate::evaluation::{Evaluation, evaluate};
use crate::measures::looping;
use crate::measures::registry::columns;
use crate::outputs::{self, gold};
use crate::report::{self, Provenance, Report};
use crate::rewards::{disjoint_rewards_warning, shared_score};
use crate::shared_embedder;
use crate::space::Space;
use crate::subsample::{Selection, subsample};

/// Reads outputs, evaluates them, and writes the report to `config.out`.
///
/// # Errors
/// When a file cannot be read or written, rewards of different models are mixed, or a model fails.
pub async fn run(config: &EvalConfig, progress: &dyn Progress) -> Result<Report> {
    let columns = config.named_columns();
    let mut outputs = outputs::read(&config.outputs, &columns, progress)?;
    let score = match config.reward {
        RewardSource::Column(_) => shared_score(&outputs.inputs)?,
        RewardSource::Model(..) | RewardSource::None => None,
    };
    if let Some(gold) = &config.gold {
        gold::add(&mut outputs, gold, &columns, progress).await?;
    }
    report::refuse_foreign_files(&config.out, &outputs.inputs)?;
    fs::create_dir_all(&config.out).map_err(Error::io("make", &config.out))?;
    // Kept until the report is written: two evaluations would mix their files.
    let _lock = lock_folder(&config.out, |process| {
        let message = format!("is being written by another polyphony (process {process})");
        Error::input(&config.out, message, "wait for it, or use another --out")
    })?;
    if config.equivalence == Equivalence::Rouge1 {
        outputs::classify(&mut outputs.rows);
    }
    outputs::runs::group(&mut outputs)?;
    let selection = subsample(&outputs.rows, config.k, config.resampling.seed);
    let evaluation = evaluate(&selection, config, progress).await?;
    let reward_revision = match &config.reward {
        // Loaded models are cached per process, so this reads only the revision.
        RewardSource::Model(name, device) => {
            Some(RewardModel::load_cached(name, *device)?.revision.clone())
        }
        RewardSource::Column(_) | RewardSource::None => None,
    };
    let mut warnings = outputs.warnings;
    warnings.extend(selection.warnings.iter().cloned());
    if reward_revision.is_some() {
        warnings.extend(no_prompt_warning(&selection));
    }
    warnings.extend(undefined_primary_warning(&evaluation, &config.primary));
    warnings.extend(disjoint_rewards_warning(&rewards_by_model(&evaluation)));
    warnings.extend(looping_warnings(&evaluation));
    warnings.extend(truncation_warnings(&evaluation, config));
    warnings.extend(shared_embedder::warnings(&outputs.inputs, config));
    let provenance = Provenance {
        inputs: outputs.inputs,
        warnings,
        score,
        reward_revision,
    };
    let report = report::report(&evaluation, config, provenance);
    report::write(&report, &evaluation, &config.out)?;
    Ok(report)
}

/// The warning that texts without a prompt have no reward.
fn no_prompt_warning(selection: &Selection<'_>) -> Option<String> {
    let rows = selection.rows.iter();
    let count = rows.filter(|row| row.prompt.is_empty()).count();
    (count > 0)
        .then(|| format!("{count} texts have no reward: the files do not have their prompts."))
}

/// The warning that primary measures have no value, so that the family of tests is smaller than declared.
fn undefined_primary_warning(evaluation: &Evaluation<'_>, primary: &[usize]) -> Option<String> {
    let defined = evaluation.defined_columns();
    let undefined = primary.iter().filter(|at| !defined.contains(at));
    let names: Vec<&str> = undefined.map(|at| columns()[*at].name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "Of the primary measures, {} have no value.",
            names.join(", ")
        )
    })
}

/// All rewards of each model.
fn rewards_by_model<'a>(evaluation: &'a Evaluation<'_>) -> Vec<(&'a str, Vec<f64>)> {
    let models = evaluation.models.iter().zip(&evaluation.cells);
    let rewards = models.map(|(model, cells)| {
        let texts = cells.iter().flatten().flat_map(|cell| &cell.texts);
        (
            model.as_str(),
            texts.filter_map(|text| text.reward).collect(),
        )
    });
    rewards.collect()
}

/// A warning for each space whose embedder has truncated texts.
fn truncation_warnings(evaluation: &Evaluation<'_>, config: &EvalConfig) -> Vec<String> {
    let warnings = Space::ALL.into_iter().filter_map(|space| {
        let SpaceSource::Embedder(embedder) = config.spaces.get(space) else {
            return None;
        };
        let tokens = evaluation.tokens.get(space).as_ref()?;
        let notice = tokens.truncation_notice(embedder)?;
        Some(format!("{}: {notice}", space.name()))
    });
    warnings.collect()
}

/// A warning for each model with looping texts (see [`looping`]).
fn looping_warnings(evaluation: &Evaluation<'_>) -> Vec<String> {
    let models = evaluation.models.iter().zip(&evaluation.cells);
    let warnings = models.filter_map(|(model, cells)| {
        let texts = cells.iter().flatten().flat_map(|cell| &cell.texts);
        let (mut count, mut loops) = (0_usize, 0_usize);
        for text in texts {
            count += 1;
            let share = looping::repeated_share(&text.output.response);
            loops += usize::from(share > looping::BOUND);
        }
        (loops > 0).then(|| {
            format!(
                "{model}: {loops} of {count} texts loop (more than {:.0} % of their n-grams of eight words \
                 repeat earlier ones).",
                100.0 * looping::BOUND
            )
        })
    });
    warnings.collect()
}
