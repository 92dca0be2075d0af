//! Training runs: texts of one model trained several times, by the name `NAME@SEED` or a column of seeds.

use std::collections::{BTreeMap, BTreeSet};

use polyphony_engine::{Error, Result};

use super::{GOLD, Output, Outputs};

/// Name and seed of a model named `NAME@SEED`, where the seed is a whole number; `None` for other names.
pub(super) fn split(name: &str) -> Option<(&str, &str)> {
    let (base, seed) = name.rsplit_once('@')?;
    let is_number = !seed.is_empty() && seed.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !base.is_empty() && base != GOLD).then_some((base, seed))
}

/// The prompt and the seed of each text of one model: whether the seeds are those of training runs, and not those
/// of samples or of parts of a file. They are if there are two or more, if most prompts have texts of every seed,
/// and if most of these have two texts or more: a seed with one text to a prompt numbers samples.
pub(super) fn are_runs<'a>(texts: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (prompt, seed) in texts {
        *counts.entry(prompt).or_default().entry(seed).or_default() += 1;
    }
    let seeds: BTreeSet<&str> = counts.values().flat_map(BTreeMap::keys).copied().collect();
    let complete = counts.values().filter(|of| of.len() == seeds.len()).count();
    let sizes = counts.values().flat_map(BTreeMap::values);
    let several = sizes.clone().filter(|size| **size > 1).count();
    seeds.len() > 1 && 2 * complete > counts.len() && 2 * several > sizes.count()
}

/// Makes models that are named `NAME@SEED` the runs of the model `NAME`, if there are two or more of them; a
/// single one keeps its name. Adds a warning for each model with runs.
///
/// # Errors
/// When a model has texts with and without a seed.
pub(crate) fn group(outputs: &mut Outputs) -> Result<()> {
    let rows = outputs.rows.iter();
    let names: BTreeSet<&str> = rows.map(|row| row.model.as_str()).collect();
    let mut seeds: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, seed) in names.iter().filter_map(|name| split(name)) {
        let seeds = seeds.entry(name.to_owned()).or_default();
        seeds.insert(seed.to_owned());
    }
    seeds.retain(|_, seeds| seeds.len() > 1);
    if let Some(name) = seeds.keys().find(|name| names.contains(name.as_str())) {
        let message = format!("has texts of `{name}` and of runs of it, as `{name}@1`");
        let hint = "name every run of it NAME@SEED, or give one another name: NAME=FILE";
        return Err(Error::input("outputs", message, hint));
    }
    for row in &mut outputs.rows {
        let Some((name, seed)) = split(&row.model) else {
            continue;
        };
        if seeds.contains_key(name) {
            let (name, seed) = (name.to_owned(), seed.to_owned());
            (row.model, row.run) = (name, Some(seed));
        }
    }
    outputs.sort();
    let warnings = warnings(&outputs.rows);
    outputs.warnings.extend(warnings);
    Ok(())
}

/// A warning for each model with runs: which they are, and how many of its prompts count.
fn warnings(rows: &[Output]) -> Vec<String> {
    let mut models: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for row in rows {
        if let Some(run) = &row.run {
            let runs = models.entry(&row.model).or_default();
            runs.entry(run).or_default().insert(&row.prompt_id);
        }
    }
    let warnings = models.into_iter().map(|(model, runs)| {
        let all: BTreeSet<&str> = runs.values().flatten().copied().collect();
        let shared = all
            .iter()
            .filter(|prompt| runs.values().all(|of| of.contains(*prompt)));
        let mut names: Vec<&str> = runs.keys().copied().collect();
        names.sort_by_key(|name| (name.len(), *name));
        format!(
            "{model}: {} runs (seeds {}). Its values are means over runs, at the {} of {} prompts that all runs \
             answered, and intervals count runs as well as prompts.",
            runs.len(),
            names.join(", "),
            shared.count(),
            all.len()
        )
    });
    warnings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_samples_and_of_parts_are_not_runs() {
        let grid = |prompts: usize, seeds: usize, texts: usize| {
            let cells = (0..prompts).flat_map(move |p| (0..seeds).map(move |s| (p, s)));
            let texts = cells.flat_map(move |cell| (0..texts).map(move |_| cell));
            texts.map(|(p, s)| (p.to_string(), s.to_string())).collect()
        };
        let are_runs = |texts: &Vec<(String, String)>| {
            are_runs(texts.iter().map(|(p, s)| (p.as_str(), s.as_str())))
        };
        assert!(are_runs(&grid(5, 3, 4)));
        assert!(!are_runs(&grid(5, 4, 1)), "each seed has one text");
        assert!(!are_runs(&grid(5, 1, 4)), "one seed");
        // Every prompt has a seed of its own.
        let own: Vec<(String, String)> = grid(5, 1, 4);
        let own = own.into_iter().map(|(p, _)| (p.clone(), p)).collect();
        assert!(!are_runs(&own));
        // A lost text makes no difference.
        let mut lost: Vec<(String, String)> = grid(5, 3, 2);
        lost.truncate(27);
        assert!(are_runs(&lost));
    }

    #[test]
    fn names_with_seeds_are_runs_if_there_are_several() {
        assert_eq!(split("ddpo@12"), Some(("ddpo", "12")));
        for name in ["ddpo", "ddpo@", "@1", "org/m@main", "gold@1", "a@1b"] {
            assert_eq!(split(name), None, "{name}");
        }
        let outputs = |models: &[&str]| Outputs {
            rows: models
                .iter()
                .map(|model| Output {
                    model: (*model).to_owned(),
                    ..Output::default()
                })
                .collect(),
            ..Outputs::default()
        };
        let mut several = outputs(&["b@10", "b@9", "c@1", "d"]);
        group(&mut several).unwrap();
        let rows = several.rows.iter();
        let rows: Vec<_> = rows.map(|row| (&*row.model, row.run.as_deref())).collect();
        assert_eq!(
            rows,
            [
                ("b", Some("9")),
                ("b", Some("10")),
                ("c@1", None),
                ("d", None)
            ]
        );
        assert!(several.warnings[0].starts_with("b: 2 runs (seeds 9, 10)."));
        assert_eq!(several.warnings.len(), 1);
        let error = group(&mut outputs(&["b@1", "b@2", "b"])).unwrap_err();
        assert!(error.to_string().contains("texts of `b` and of runs of it"));
    }
}
