//! Homogenization of the published code: `reference_homogenization(text)`.

use super::measure::{Column, Direction, Function, Group, Measure, SetSize};
use crate::text::rouge::LcsMatcher;
use crate::text::tokenization::{TokenIds, Tokenization};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "reference_homogenization",
    function: Function::Texts(|texts, _| reference_homogenization(texts)),
    parameters: &[],
    group: Group::Words,
    size: SetSize::OfSet,
    direction: Direction::Lower,
    description: "What the paper's code gives: the last text is lost (0.75 of the true value for four), letters a to z alone.",
    columns: &[Column::reference(
        "reference_homogenization",
        "Homogenization, published code",
    )],
};

/// The value of the paper's code, with its bugs; the paper's published values are computed this way. A text's
/// mean over the others is added only when a different text follows, so the last text is ignored and equal
/// neighbours count as one text. 0.75 of the correct value for four texts, 3 for four equal texts, 0 for
/// one text. Words consist of ASCII letters and digits only.
pub fn reference_homogenization(texts: &[&str]) -> Option<f64> {
    let n = texts.len();
    let words = TokenIds::new(texts, Tokenization::AsciiRouge);
    let mut matcher = LcsMatcher::new(words.vocab_size);
    let mut alike = |i: usize, j: usize| {
        if texts[i] == texts[j] {
            return 1.0;
        }
        matcher.rouge_l(&words.texts[i], &words.texts[j])
    };
    let (mut total, mut current) = (0.0, 0.0);
    for i in 0..n {
        if i > 0 && texts[i] != texts[i - 1] {
            total += current / (n - 1) as f64;
            current = 0.0;
        }
        let others = (0..n).filter(|&j| j != i);
        current += others.map(|j| alike(i, j)).sum::<f64>();
    }
    let sum = if total == 0.0 { current } else { total };
    (n > 0).then(|| sum / n as f64)
}
