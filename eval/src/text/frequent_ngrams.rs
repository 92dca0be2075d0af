//! Frequent n-grams: the occurrences of the n-grams of two groups of texts, by prompt, level by level.
//!
//! An n-gram is counted only if both n-grams of n - 1 words in it are frequent, because it cannot be at more prompts
//! than they are (the Apriori rule): the long tail of rare phrases is never stored.

use rayon::prelude::*;

use super::sentences::SENTENCE_END;

/// The id at a place where no frequent n-gram begins.
const NONE: u32 = u32::MAX;

/// The texts of two groups to a prompt, as ids of words with [`SENTENCE_END`].
pub type Groups<'a> = [Vec<&'a [u32]>; 2];

/// The n-grams of one length.
#[derive(Debug)]
pub struct Order {
    /// By prompt, the number of n-grams of each group, frequent or not; none crosses the end of a sentence.
    pub sizes: Vec<[u32; 2]>,
    /// The frequent n-grams.
    pub ngrams: Vec<Ngram>,
}

/// A frequent n-gram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ngram {
    /// The ids of its words.
    pub words: Vec<u32>,
    /// The index of each prompt where it occurs, with its occurrences in each group.
    pub counts: Vec<(u32, [u32; 2])>,
}

/// The n-grams of 1 to `max_n` words that occur at `min_prompts` prompts, in either group, at least.
pub fn frequent_ngrams(prompts: &[Groups<'_>], max_n: usize, min_prompts: usize) -> Vec<Order> {
    let mut orders: Vec<Order> = Vec::new();
    // By prompt, group and text: the frequent n-gram that begins at each word.
    let mut starts: Vec<[Vec<Vec<u32>>; 2]> = Vec::new();
    for n in 1..=max_n {
        let counted = (0..prompts.len()).into_par_iter();
        let counted = counted.map(|at| count(&prompts[at], starts.get(at), at as u32, n));
        let counted: Vec<Vec<Entry>> = counted.collect();
        let mut entries: Vec<Entry> = counted.into_iter().flatten().collect();
        entries.par_sort_unstable_by_key(|entry| (entry.key, entry.prompt));
        let groups = entries.chunk_by(|a, b| a.key == b.key);
        let frequent: Vec<&[Entry]> = groups.filter(|group| group.len() >= min_prompts).collect();
        let keys: Vec<u64> = frequent.iter().map(|group| group[0].key).collect();
        let before = orders.last();
        let ngrams = frequent.iter().map(|group| Ngram {
            words: words(group[0].key, before),
            counts: group
                .iter()
                .map(|entry| (entry.prompt, entry.counts))
                .collect(),
        });
        let ngrams = ngrams.collect();
        let sizes = prompts.par_iter().map(|groups| {
            let size = |texts: &Vec<&[u32]>| texts.iter().map(|text| size(text, n)).sum();
            groups.each_ref().map(size)
        });
        orders.push(Order {
            sizes: sizes.collect(),
            ngrams,
        });
        if n < max_n {
            let next = (0..prompts.len()).into_par_iter();
            let next = next.map(|at| {
                [0, 1].map(|group| {
                    let texts = prompts[at][group].iter().enumerate();
                    let texts = texts.map(|(text, ids)| {
                        let before = starts.get(at).map(|starts| starts[group][text].as_slice());
                        let find = |place| {
                            let key = key(ids, before, place, n)?;
                            keys.binary_search(&key).ok()
                        };
                        let places = 0..ids.len();
                        places
                            .map(|place| find(place).map_or(NONE, |id| id as u32))
                            .collect()
                    });
                    texts.collect()
                })
            });
            starts = next.collect();
        }
    }
    orders
}

/// The occurrences of an n-gram at a prompt.
#[derive(Debug)]
struct Entry {
    key: u64,
    prompt: u32,
    counts: [u32; 2],
}

/// The key of the n-gram that begins at `place`: the n-gram without its last word, and the last word. `None` if there
/// is none, or one that cannot be frequent.
fn key(ids: &[u32], before: Option<&[u32]>, place: usize, n: usize) -> Option<u64> {
    let last = *ids.get(place + n - 1)?;
    match before {
        None => (last != SENTENCE_END).then_some(u64::from(last)),
        Some(before) => {
            let (first, second) = (before[place], before[place + 1]);
            let is_candidate = first != NONE && second != NONE;
            is_candidate.then_some(u64::from(first) << 32 | u64::from(last))
        }
    }
}

/// The ids of the words of a key; `before` holds the n-grams that are one word shorter.
fn words(key: u64, before: Option<&Order>) -> Vec<u32> {
    let first = before.map(|order| order.ngrams[(key >> 32) as usize].words.as_slice());
    [first.unwrap_or_default(), &[key as u32]].concat()
}

/// Counts the n-grams at one prompt.
fn count(
    groups: &Groups<'_>,
    starts: Option<&[Vec<Vec<u32>>; 2]>,
    prompt: u32,
    n: usize,
) -> Vec<Entry> {
    let mut keys: Vec<(u64, usize)> = Vec::new();
    for (group, texts) in groups.iter().enumerate() {
        for (text, ids) in texts.iter().enumerate() {
            let before = starts.map(|starts| starts[group][text].as_slice());
            let of_text = (0..ids.len()).filter_map(|place| key(ids, before, place, n));
            keys.extend(of_text.map(|key| (key, group)));
        }
    }
    keys.sort_unstable();
    let entries = keys.chunk_by(|a, b| a.0 == b.0).map(|of_key| {
        let second = of_key.iter().filter(|(_, group)| *group == 1).count() as u32;
        Entry {
            key: of_key[0].0,
            prompt,
            counts: [of_key.len() as u32 - second, second],
        }
    });
    entries.collect()
}

/// The number of n-grams of a text.
fn size(ids: &[u32], n: usize) -> u32 {
    let sentences = ids.split(|id| *id == SENTENCE_END);
    let sizes = sentences.map(|words| (words.len() + 1).saturating_sub(n) as u32);
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The counts of all n-grams in dictionaries, without levels.
    fn by_dictionary(prompts: &[[Vec<Vec<u32>>; 2]], n: usize, min: usize) -> Vec<Ngram> {
        let mut counts: BTreeMap<Vec<u32>, BTreeMap<u32, [u32; 2]>> = BTreeMap::new();
        for (prompt, groups) in prompts.iter().enumerate() {
            for (group, texts) in groups.iter().enumerate() {
                for ngram in texts.iter().flat_map(|text| text.windows(n)) {
                    if !ngram.contains(&SENTENCE_END) {
                        let of_ngram = counts.entry(ngram.to_vec()).or_default();
                        of_ngram.entry(prompt as u32).or_default()[group] += 1;
                    }
                }
            }
        }
        let ngrams = counts.into_iter().map(|(words, counts)| Ngram {
            words,
            counts: counts.into_iter().collect(),
        });
        ngrams.filter(|ngram| ngram.counts.len() >= min).collect()
    }

    fn text() -> impl Strategy<Value = Vec<u32>> {
        let word = prop_oneof![8 => 0_u32..6, 1 => Just(SENTENCE_END)];
        prop::collection::vec(word, 0..40)
    }

    proptest! {
        #[test]
        fn level_by_level_counts_all_frequent_ngrams(
            prompts in prop::collection::vec(prop::array::uniform2(prop::collection::vec(text(), 0..3)), 0..7),
            min in 1_usize..4,
        ) {
            let groups: Vec<Groups<'_>> = prompts
                .iter()
                .map(|groups| groups.each_ref().map(|texts| texts.iter().map(Vec::as_slice).collect()))
                .collect();
            let orders = frequent_ngrams(&groups, 4, min);
            prop_assert_eq!(orders.len(), 4);
            for (order, n) in orders.iter().zip(1..) {
                let mut ngrams = order.ngrams.clone();
                ngrams.sort_by(|a, b| a.words.cmp(&b.words));
                prop_assert_eq!(ngrams, by_dictionary(&prompts, n, min));
                for (sizes, groups) in order.sizes.iter().zip(&prompts) {
                    let expected = groups.each_ref().map(|texts| {
                        let all = texts.iter().flat_map(|text| text.windows(n));
                        all.filter(|ngram| !ngram.contains(&SENTENCE_END)).count() as u32
                    });
                    prop_assert_eq!(*sizes, expected);
                }
            }
        }
    }
}
