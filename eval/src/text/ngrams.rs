//! n-gram ids: equal n-grams have equal ids; each order (n-gram length) is computed in one pass from the order
//! below.

use std::collections::HashMap;

/// The ids of the n-grams of one order, shared by all texts.
#[derive(Debug, Default)]
pub struct NgramIds {
    ids: HashMap<(u32, u32), u32>,
}

impl NgramIds {
    /// The ids of a text's n-grams of order `n`, from those of order `n - 1` (`shorter`) and of order 1
    /// (`words`).
    pub fn extend(&mut self, shorter: &[u32], words: &[u32], n: usize) -> Vec<u32> {
        let pairs = shorter.iter().zip(words.iter().skip(n - 1));
        pairs
            .map(|(&ngram, &word)| {
                let next = self.ids.len() as u32;
                *self.ids.entry((ngram, word)).or_insert(next)
            })
            .collect()
    }

    /// The number of unique n-grams.
    pub fn vocab_size(&self) -> usize {
        self.ids.len()
    }
}

/// For each order from 1 to `max_order`: the n-gram ids of every text, and the number of unique n-grams.
pub fn orders(
    texts: &[Vec<u32>],
    vocab_size: usize,
    max_order: usize,
) -> Vec<(Vec<Vec<u32>>, usize)> {
    let mut orders = vec![(texts.to_vec(), vocab_size)];
    for n in 2..=max_order {
        let mut ids = NgramIds::default();
        let shorter = &orders[n - 2].0;
        let ngrams: Vec<Vec<u32>> = shorter
            .iter()
            .zip(texts)
            .map(|(shorter, words)| ids.extend(shorter, words, n))
            .collect();
        orders.push((ngrams, ids.vocab_size()));
    }
    orders
}
