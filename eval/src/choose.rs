//! How many texts of each model count? As many of each to a prompt: measures grow with their number.

use std::collections::{BTreeMap, BTreeSet};

use crate::outputs::{GOLD, Output};
use polyphony_io::hash::fnv1a;
use polyphony_io::random::SplitMix64;

/// The texts that count.
#[derive(Debug)]
pub struct Selection<'a> {
    /// How many of a model to a prompt.
    pub k: usize,
    /// The texts, by model, prompt and sample.
    pub rows: Vec<&'a Output>,
    /// What the reader must know.
    pub notices: Vec<String>,
}

/// Chooses `k` texts of each model to each prompt, by `seed` where there are more. Without `k`, the
/// smallest of the numbers that models usually have, ones and people's aside. Where a model has fewer to a prompt,
/// those that it has stay, and its diversity there is undefined.
pub fn choose(rows: &[Output], k: Option<usize>, seed: u64) -> Selection<'_> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Output>> = BTreeMap::new();
    for row in rows {
        let key = (row.model.as_str(), row.prompt_id.as_str());
        groups.entry(key).or_default().push(row);
    }
    let mut sizes: BTreeMap<&str, BTreeMap<usize, usize>> = BTreeMap::new();
    for ((model, _), group) in &groups {
        *sizes
            .entry(model)
            .or_default()
            .entry(group.len())
            .or_default() += 1;
    }
    let usual = |sizes: &BTreeMap<usize, usize>| {
        let most = sizes
            .iter()
            .max_by_key(|(size, prompts)| (**prompts, **size));
        most.map_or(1, |(size, _)| *size)
    };
    let of_models = sizes.iter().filter(|(model, _)| **model != GOLD);
    let several = of_models
        .map(|(_, sizes)| usual(sizes))
        .filter(|size| *size > 1);
    let asked = k == Some(1);
    let k = k.or(several.min()).unwrap_or(1);
    let mut notices: Vec<String> = unlike(&groups).into_iter().collect();
    for (model, sizes) in &sizes {
        let prompts = |keep: &dyn Fn(usize) -> bool| {
            let kept = sizes.iter().filter(|(size, _)| keep(**size));
            kept.map(|(_, prompts)| prompts).sum::<usize>()
        };
        let (more, fewer) = (prompts(&|size| size > k), prompts(&|size| size < k));
        if more > 0 {
            notices.push(format!(
                "{model} has more than {k} texts to {more} prompts: {k} of them were drawn, by seed."
            ));
        }
        if fewer > 0 {
            notices.push(format!(
                "{model} has fewer than {k} texts to {fewer} prompts: its diversity there is undefined."
            ));
        }
    }
    if k == 1 {
        let why = if asked {
            "One text to a prompt counts, as asked"
        } else {
            "No model has more than one text to a prompt"
        };
        notices.push(format!(
            "{why}: diversity is undefined. Where prompts repeat under ids of their own, say --columns \
             prompt_id=COLUMN."
        ));
    }
    let drawn = groups.into_iter().flat_map(|((model, prompt), group)| {
        let mut places: Vec<usize> = (0..group.len()).collect();
        if group.len() > k {
            SplitMix64(seed ^ fnv1a(model.as_bytes()) ^ fnv1a(prompt.as_bytes()).rotate_left(32))
                .shuffle(&mut places);
            places.truncate(k);
            places.sort_unstable();
        }
        places.into_iter().map(move |place| group[place])
    });
    Selection {
        k,
        rows: drawn.collect(),
        notices,
    }
}

/// Says where models answered unlike prompts: their means are over prompts of their own.
fn unlike(groups: &BTreeMap<(&str, &str), Vec<&Output>>) -> Option<String> {
    let mut prompts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (model, prompt) in groups.keys() {
        prompts.entry(model).or_default().insert(prompt);
    }
    let sets: Vec<&BTreeSet<&str>> = prompts.values().collect();
    let all: BTreeSet<&str> = sets.iter().copied().flatten().copied().collect();
    let common = all
        .iter()
        .filter(|prompt| sets.iter().all(|set| set.contains(*prompt)));
    let common = common.count();
    (common < all.len()).then(|| {
        format!(
            "Not all models answered all prompts: of {} prompts {common} have texts of each. A model's \
             mean is over its own prompts; differences of two models are over those that both answered.",
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
                prompt: String::new(),
                sample,
                response: sample.to_string(),
                score: None,
                utility: None,
                class: None,
                given: [None, None],
            })
        };
        prompts.flat_map(of).collect()
    }

    #[test]
    fn models_say_how_many_count_not_people() {
        let all = [
            rows("m", 0..9, 10),
            rows(GOLD, 0..9, 2),
            rows("once", 0..9, 1),
        ]
        .concat();
        let chosen = choose(&all, None, 7);
        assert_eq!(chosen.k, 10);
        assert_eq!(chosen.rows.len(), 9 * 13);
        let chosen = choose(&all, Some(4), 7);
        assert_eq!(chosen.rows.len(), 9 * (4 + 2 + 1));
        let again = choose(&all, Some(4), 7);
        assert_eq!(chosen.rows, again.rows);
        assert_ne!(chosen.rows, choose(&all, Some(4), 8).rows);
    }

    #[test]
    fn it_says_why_diversity_is_undefined() {
        let all = [rows("a", 0..9, 3), rows("b", 3..12, 3)].concat();
        let said = choose(&all, Some(1), 7).notices.concat();
        assert!(said.contains("as asked"), "{said}");
        assert!(
            said.contains("of 12 prompts 6 have texts of each"),
            "{said}"
        );
        let said = choose(&rows("a", 0..9, 1), None, 7).notices.concat();
        assert!(said.contains("No model has more than one text"), "{said}");
    }
}
