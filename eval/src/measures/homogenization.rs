//! Homogenization: `homogenization(text)`, the mean pairwise ROUGE-L of the texts.

use super::measure::{Column, Direction, Function, Group, Measure, SetSize};
use crate::stats::mean::mean_of_pairs;
use crate::text::rouge::LcsMatcher;
use crate::text::tokenization::{TokenIds, Tokenization};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "homogenization",
    function: Function::Texts(|texts, _| homogenization(texts)),
    parameters: &[],
    group: Group::Words,
    size: SetSize::MeanOverPairs,
    direction: Direction::Lower,
    description: "The mean ROUGE-L F1 of all pairs of texts; words in lower case, letters of every script.",
    columns: &[Column::new("homogenization", "Homogenization")],
};

/// The mean ROUGE-L F1 of all pairs of texts (Padmakumar & He 2023; Lin 2004). 1 for equal texts
/// (including empty ones), 0 for texts without a common word. `None` for fewer than two texts.
///
/// Differs from published code: the Python package `diversity` divides by zero for one text, and treats
/// texts without a common word as identical; the copy in the paper's code ignores the last text, see
/// [`super::reference_homogenization`].
pub fn homogenization(texts: &[&str]) -> Option<f64> {
    let words = TokenIds::new(texts, Tokenization::Rouge);
    let mut matcher = LcsMatcher::new(words.vocab_size);
    mean_of_pairs(words.texts.len(), |i, j| {
        if texts[i] == texts[j] {
            return 1.0;
        }
        matcher.rouge_l(&words.texts[i], &words.texts[j])
    })
}

#[cfg(test)]
mod tests {
    use super::super::reference_homogenization::reference_homogenization;
    use super::*;

    #[test]
    fn chinese_texts_are_compared_by_character() {
        let texts = ["雪の王", "雪の女王"];
        assert!(homogenization(&texts).is_some_and(|alike| alike > 0.8));
        assert_eq!(reference_homogenization(&texts), Some(0.0));
    }
}
