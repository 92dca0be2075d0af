//! Which runs of n words are the same? Numbers for n-grams, in one pass an order.

use std::collections::HashMap;

/// Numbers the runs of 1 to `most` words of a text so that equal runs have equal numbers, over all
/// texts that it is asked about.
#[derive(Debug, Default)]
pub struct Ngrams {
    known: HashMap<(u32, u32), u32>,
}

impl Ngrams {
    /// The numbers of a text's runs of `n` words, given those of its runs of `n - 1`.
    pub fn longer(&mut self, shorter: &[u32], words: &[u32], n: usize) -> Vec<u32> {
        let pairs = shorter.iter().zip(words.iter().skip(n - 1));
        pairs
            .map(|(&run, &word)| {
                let next = self.known.len() as u32;
                *self.known.entry((run, word)).or_insert(next)
            })
            .collect()
    }

    /// How many different runs there are among those that were numbered.
    pub fn vocab_size(&self) -> usize {
        self.known.len()
    }
}

/// For each order from 1 to `most`, the numbers of every text's runs and how many kinds there are.
pub fn orders(texts: &[Vec<u32>], vocab_size: usize, most: usize) -> Vec<(Vec<Vec<u32>>, usize)> {
    let mut orders = vec![(texts.to_vec(), vocab_size)];
    for n in 2..=most {
        let mut numbers = Ngrams::default();
        let shorter = &orders[n - 2].0;
        let runs: Vec<Vec<u32>> = shorter
            .iter()
            .zip(texts)
            .map(|(shorter, words)| numbers.longer(shorter, words, n))
            .collect();
        orders.push((runs, numbers.vocab_size()));
    }
    orders
}
