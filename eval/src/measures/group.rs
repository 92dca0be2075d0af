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
    /// The value of every column of [`columns`]; `None` where undefined. Measures of a set need at least `k`
    /// texts, and at least two, because their values depend on the size of the set. Columns with the values of
    /// published code are `None` unless `reference`.
    pub fn measure(&self, k: usize, reference: bool) -> Vec<Option<f64>> {
        let cosines = PerSpace::from_fn(|space| -> Cosines {
            let rows = self.embeddings.get(space).as_ref()?;
            Some((cosines(rows), rows.len()))
        });
        let is_full_set = self.texts.len() >= k && k > 1;
        let value = |column: &ReportColumn| {
            let is_defined = is_full_set || column.measure.is_mean_over_texts();
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
    fn sets_smaller_than_k_have_no_diversity_but_a_mean_reward() {
        let group = Group {
            texts: vec!["a b", "a c"],
            rewards: Some(vec![1.0, 2.0]),
            mean_distance: PerSpace {
                semantic: Some(0.5),
                style: None,
            },
            ..Group::default()
        };
        let value = |k: usize, name: &str| group.measure(k, false)[column_index(name).unwrap()];
        for (k, semantic) in [(2, Some(0.5)), (3, None), (1, None)] {
            assert_eq!(value(k, Space::Semantic.name()), semantic);
            assert_eq!(value(k, "reward"), Some(1.5));
            assert_eq!(value(k, "words"), Some(2.0));
        }
        assert!(value(2, "homogenization").is_some() && value(3, "homogenization").is_none());
        assert_eq!(value(2, "reference_homogenization"), None);
        assert_eq!(value(2, "distinct_k"), None);
    }
}
