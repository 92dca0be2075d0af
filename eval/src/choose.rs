//! How many texts of each model count? As many of each to a prompt: measures grow with their number.

use std::collections::BTreeMap;

use crate::outputs::Output;
use polyphony_engine::embed::words::hash;
use polyphony_engine::random::SplitMix64;

/// The texts that count.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// How many of a model to a prompt.
    pub k: usize,
    /// The texts, by model, prompt and sample.
    pub rows: Vec<&'a Output>,
    /// What the reader must know.
    pub notices: Vec<String>,
}

/// Chooses `k` texts of each model to each prompt, by `seed` where there are more. Without `k`, the
/// smallest of the numbers that models usually have, ones aside. Where a model has fewer to a prompt,
/// those that it has stay, and its diversity there is undefined.
pub fn choose(rows: &[Output], k: Option<usize>, seed: u64) -> Chosen<'_> {
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
    let several = sizes.values().map(usual).filter(|size| *size > 1).min();
    let k = k.or(several).unwrap_or(1);
    let mut notices = Vec::new();
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
        let notice = "No model has more than one text to a prompt: diversity is undefined.";
        notices.push(notice.to_owned());
    }
    let drawn = groups.into_iter().flat_map(|((model, prompt), group)| {
        let mut places: Vec<usize> = (0..group.len()).collect();
        if group.len() > k {
            SplitMix64(seed ^ hash(model.as_bytes()) ^ hash(prompt.as_bytes()).rotate_left(32))
                .shuffle(&mut places);
            places.truncate(k);
            places.sort_unstable();
        }
        places.into_iter().map(move |place| group[place])
    });
    Chosen {
        k,
        rows: drawn.collect(),
        notices,
    }
}
