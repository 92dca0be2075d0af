//! Subsampling: the same number of texts for each model and prompt, because measures of a set depend on its
//! size.

use std::collections::{BTreeMap, BTreeSet};

use crate::measures::measure::SetSize;
use crate::measures::registry::columns;
use crate::outputs::{GOLD, Output};
use polyphony_io::hash::fnv1a;
use polyphony_io::random::SplitMix64;

/// The texts that are evaluated.
#[derive(Debug)]
pub struct Selection<'a> {
    /// The number of texts per model and prompt.
    pub k: usize,
    /// The selected texts, sorted by model, prompt, run and sample.
    pub rows: Vec<&'a Output>,
    /// Warnings about prompts with more or fewer than `k` texts, for the report.
    pub warnings: Vec<String>,
}

/// Selects `k` texts for each model (or run of it) and prompt, at random (random seed `seed`) where there are more. The default
/// of `k` is the minimum over models of their most common number of texts per prompt; gold and models with one
/// text per prompt are ignored. Where a model has fewer than `k` texts to a prompt, all are selected, and the
/// measures of the whole set are undefined there (see [`crate::measures::measure::SetSize`]).
///
/// `rows` are sorted by model, prompt and run.
pub fn subsample(rows: &[Output], k: Option<usize>, seed: u64) -> Selection<'_> {
    let groups: Vec<&[Output]> = rows.chunk_by(Output::same_group).collect();
    // Models of several runs count by run.
    let mut sizes: BTreeMap<String, BTreeMap<usize, usize>> = BTreeMap::new();
    for group in &groups {
        *sizes
            .entry(group[0].model_and_run())
            .or_default()
            .entry(group.len())
            .or_default() += 1;
    }
    let most_common = |sizes: &BTreeMap<usize, usize>| {
        let mode = sizes
            .iter()
            .max_by_key(|(size, prompts)| (**prompts, **size));
        mode.map_or(1, |(size, _)| *size)
    };
    let of_models = sizes.iter().filter(|(model, _)| *model != GOLD);
    let several = of_models
        .map(|(_, sizes)| most_common(sizes))
        .filter(|size| *size > 1);
    let is_requested = k == Some(1);
    let k = k.or(several.min()).unwrap_or(1);
    let mut warnings: Vec<String> = missing_prompts_warning(&groups).into_iter().collect();
    for (model, sizes) in &sizes {
        let prompts = |is_counted: &dyn Fn(usize) -> bool| {
            let counted = sizes.iter().filter(|(size, _)| is_counted(**size));
            counted.map(|(_, prompts)| prompts).sum::<usize>()
        };
        let (more, fewer) = (prompts(&|size| size > k), prompts(&|size| size < k));
        if more > 0 {
            warnings.push(format!(
                "{model}: more than {k} texts to {more} prompts; {k} of each are sampled at random."
            ));
        }
        if fewer > 0 {
            warnings.push(format!(
                "{model}: fewer than {k} texts to {fewer} prompts; there only means over texts and pairs of texts \
                 ({}) are defined.",
                names_of_means()
            ));
        }
        let single = sizes.get(&1).copied().unwrap_or_default();
        if single > 0 && k > 1 {
            warnings.push(format!(
                "{model}: one text to {single} prompts; its diversity there is undefined."
            ));
        }
    }
    if k == 1 {
        let why = if is_requested {
            "k = 1"
        } else {
            "no model has more than one text to a prompt"
        };
        warnings.push(format!(
            "Diversity is undefined: {why}. Where rows of one prompt have ids of their own, use --columns \
             prompt_id=COLUMN."
        ));
    }
    let rows = groups.into_iter().flat_map(|group| {
        let (model, prompt) = (group[0].model_and_run(), &group[0].prompt_id);
        let mut indices: Vec<usize> = (0..group.len()).collect();
        if group.len() > k {
            SplitMix64(seed ^ fnv1a(model.as_bytes()) ^ fnv1a(prompt.as_bytes()).rotate_left(32))
                .shuffle(&mut indices);
            indices.truncate(k);
            indices.sort_unstable();
        }
        indices.into_iter().map(move |index| &group[index])
    });
    Selection {
        k,
        rows: rows.collect(),
        warnings,
    }
}

/// The names of the columns that compare between sets of different size.
fn names_of_means() -> String {
    let means = columns()
        .iter()
        .filter(|column| column.measure.size != SetSize::OfSet && !column.reference);
    let names: Vec<&str> = means.map(|column| column.name).collect();
    names.join(", ")
}

/// The warning that the models have texts to different prompts, so that their means are over different prompts.
fn missing_prompts_warning(groups: &[&[Output]]) -> Option<String> {
    let mut prompts: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for group in groups {
        let of_model = prompts.entry(group[0].model_and_run()).or_default();
        of_model.insert(&group[0].prompt_id);
    }
    let sets: Vec<&BTreeSet<&str>> = prompts.values().collect();
    let all: BTreeSet<&str> = sets.iter().copied().flatten().copied().collect();
    let common = all
        .iter()
        .filter(|prompt| sets.iter().all(|set| set.contains(*prompt)));
    let common = common.count();
    (common < all.len()).then(|| {
        format!(
            "Only {common} of {} prompts have texts of every model. A model's mean is over its own prompts; the \
             difference of two models is over the prompts of both.",
            all.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(model: &str, prompts: std::ops::Range<usize>, samples: i64) -> Vec<Output> {
        let of = |prompt: usize| {
            (0..samples).map(move |sample| Output {
                model: model.to_owned(),
                prompt_id: prompt.to_string(),
                sample,
                response: sample.to_string(),
                ..Output::default()
            })
        };
        prompts.flat_map(of).collect()
    }

    #[test]
    fn default_k_is_the_most_common_number_and_ignores_gold() {
        let all = [
            rows("m", 0..9, 10),
            rows(GOLD, 0..9, 2),
            rows("once", 0..9, 1),
        ]
        .concat();
        let selection = subsample(&all, None, 7);
        assert_eq!(selection.k, 10);
        assert_eq!(selection.rows.len(), 9 * 13);
        let selection = subsample(&all, Some(4), 7);
        assert_eq!(selection.rows.len(), 9 * (4 + 2 + 1));
        let again = subsample(&all, Some(4), 7);
        assert_eq!(selection.rows, again.rows);
        assert_ne!(selection.rows, subsample(&all, Some(4), 8).rows);
    }

    #[test]
    fn warnings_name_the_reason_for_undefined_diversity() {
        let all = [rows("a", 0..9, 3), rows("b", 3..12, 3)].concat();
        let warnings = subsample(&all, Some(1), 7).warnings.concat();
        assert!(warnings.contains("k = 1"), "{warnings}");
        assert!(
            warnings.contains("6 of 12 prompts have texts of every model"),
            "{warnings}"
        );
        let warnings = subsample(&rows("a", 0..9, 1), None, 7).warnings.concat();
        assert!(
            warnings.contains("no model has more than one text"),
            "{warnings}"
        );
    }
}
