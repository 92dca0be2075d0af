//! Group: one model's texts to one prompt, and the value of every report column for them.

use super::measure::Function;
use super::registry::{ReportColumn, columns};
use crate::cosines::cosines;
use crate::space::PerSpace;

/// One model's texts to one prompt, with the inputs of all measures.
#[derive(Debug, Clone, Default)]
pub struct Group<'a> {
    /// The texts, in order of sample number.
    pub texts: Vec<&'a str>,
    /// The embeddings of the texts, by space; `None` where the space has no embedder.
    pub embeddings: PerSpace<Option<Vec<&'a [f32]>>>,
    /// The mean distance from the input files, for a space without embeddings.
    pub mean_distance: PerSpace<Option<f64>>,
    /// The equivalence class of each text; `None` if any text lacks one.
    pub classes: Option<Vec<i64>>,
    /// The utility of each text; `None` if any text lacks one.
    pub utilities: Option<Vec<f64>>,
    /// The reward of each text; `None` if any text lacks one.
    pub rewards: Option<Vec<f64>>,
}

/// The cosine similarities of a space's embeddings, row-major n x n, and n.
type Cosines = Option<(Vec<f64>, usize)>;

impl Group<'_> {
    /// The value of every column of [`columns`]; `None` where undefined. Functions of a whole set need at least
    /// `k` texts, because their values depend on the size of the set; means over pairs need two (see
    /// [`super::measure::SetSize`]). Columns with the values of published code are `None` unless `reference`.
    pub fn measure(&self, k: usize, reference: bool) -> Vec<Option<f64>> {
        let cosines = PerSpace::from_fn(|space| -> Cosines {
            let rows = self.embeddings.get(space).as_ref()?;
            Some((cosines(rows), rows.len()))
        });
        let value = |column: &ReportColumn| {
            let is_defined = column.measure.size.is_defined(self.texts.len(), k);
            let is_wanted = reference || !column.reference;
            (is_defined && is_wanted)
                .then(|| self.value(column, &cosines))
                .flatten()
                .filter(|value| value.is_finite())
        };
        columns().iter().map(value).collect()
    }

    fn value(&self, column: &ReportColumn, cosines: &PerSpace<Cosines>) -> Option<f64> {
        let parameters = &column.parameters;
        match column.measure.function {
            Function::Texts(function) => function(&self.texts, parameters),
            Function::Classes(function) => function(self.classes.as_ref()?, parameters),
            Function::ClassesAndUtilities(function) => {
                function(self.classes.as_ref()?, self.utilities.as_ref()?, parameters)
            }
            Function::Rewards(function) => function(self.rewards.as_ref()?, parameters),
            Function::Cosines(function) => {
                let space = column.space?;
                match cosines.get(space) {
                    Some((cosines, n)) => function(cosines, *n, parameters),
                    None if column.name == space.name() => *self.mean_distance.get(space),
                    None => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::column_index;
    use super::*;
    use crate::space::Space;

    #[test]
    fn sets_smaller_than_k_have_means_over_pairs_but_no_measure_of_the_whole_set() {
        let group = |n: usize| Group {
            texts: ["a b c", "a c d"][..n].to_vec(),
            rewards: Some(vec![1.0, 2.0][..n].to_vec()),
            mean_distance: PerSpace {
                semantic: (n > 1).then_some(0.5),
                style: None,
            },
            ..Group::default()
        };
        let value = |n, k, name: &str| group(n).measure(k, false)[column_index(name).unwrap()];
        for k in [2, 3, 9] {
            assert_eq!(value(2, k, Space::Semantic.name()), Some(0.5));
            assert!(value(2, k, "homogenization").is_some());
            assert_eq!(value(2, k, "self_bleu").is_some(), k == 2);
            assert_eq!(value(2, k, "ngram_diversity").is_some(), k == 2);
            assert_eq!(value(2, k, "reward"), Some(1.5));
            assert_eq!(value(2, k, "words"), Some(3.0));
        }
        for k in [1, 2] {
            for name in ["semantic", "homogenization", "self_bleu"] {
                assert_eq!(value(1, k, name), None, "{name}");
            }
            assert_eq!(value(1, k, "reward"), Some(1.0));
        }
        assert_eq!(value(2, 2, "reference_homogenization"), None);
        assert_eq!(value(2, 2, "distinct_k"), None);
    }
}
