//! Log-determinant: `log_det(embedding, epsilon)`, the volume that the embeddings of a set of texts span.

use nalgebra::DMatrix;

use super::measure::{Column, Direction, Function, Group, Measure, ParamRange, Parameter, SetSize};
use crate::space::Space;

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "log_det",
    function: Function::Cosines(|cosines, n, parameters| log_det(cosines, n, parameters[0])),
    parameters: &[Parameter {
        name: "epsilon",
        default: 0.01,
        range: ParamRange::Positive,
    }],
    group: Group::Vectors,
    size: SetSize::OfSet,
    direction: Direction::Higher,
    description: "The log-determinant of the cosine kernel plus epsilon on its diagonal, scaled to unit \
                  diagonal: 0 for orthogonal embeddings, lower the smaller the volume that they span.",
    columns: &[
        Column::of_space(
            Space::Semantic,
            "semantic_log_det",
            "Semantic log det",
            "The log-determinant of the kernel of semantic cosines: 0 for unrelated texts, lower the closer \
             they are; two clusters count as little more than two texts.",
        ),
        Column::of_space(
            Space::Style,
            "style_log_det",
            "Style log det",
            "The log-determinant of the kernel of style cosines.",
        ),
    ],
};

/// log det((K + epsilon I) / (1 + epsilon)), where K is the matrix of cosines: the log-likelihood of the set under
/// a determinantal point process up to a constant (Kulesza & Taskar 2012), the diversity term of DQO (arXiv
/// 2509.04784). At most 0; 0 for orthogonal embeddings, and n - 1 times about ln(epsilon) for n equal ones.
/// Unlike a mean of distances it is low for two tight clusters. Falls with n, so only values of equal n are
/// comparable. `None` without a vector, or if the matrix is not positive definite (NaN in a vector).
pub fn log_det(cosines: &[f64], n: usize, epsilon: f64) -> Option<f64> {
    if n == 0 {
        return None;
    }
    let mut kernel = DMatrix::from_row_slice(n, n, cosines);
    for i in 0..n {
        kernel[(i, i)] += epsilon;
    }
    kernel /= 1.0 + epsilon;
    let factor = kernel.cholesky()?;
    let diagonal = factor.l_dirty().diagonal();
    Some(2.0 * diagonal.iter().map(|value| value.ln()).sum::<f64>())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cosines::cosines;

    /// Golden values: `tests/peers/log_det.py` (numpy's `slogdet`).
    #[test]
    fn equals_numpy() {
        let golden = include_str!("../../../tests/fixtures/log_det.json");
        let golden: Vec<Value> = serde_json::from_str(golden).unwrap();
        assert_eq!(golden.len(), 8);
        for case in golden {
            let vectors: Vec<Vec<f32>> = serde_json::from_value(case["vectors"].clone()).unwrap();
            let rows: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
            let epsilon = case["epsilon"].as_f64().unwrap();
            let ours = log_det(&cosines(&rows), rows.len(), epsilon).unwrap();
            let expected = case["log_det"].as_f64().unwrap();
            assert!((ours - expected).abs() < 1e-6, "{ours} is not {expected}");
        }
    }

    #[test]
    fn two_clusters_span_less_than_spread_texts_of_the_same_mean_distance() {
        let angle =
            |degrees: f32| vec![degrees.to_radians().cos(), degrees.to_radians().sin(), 0.0];
        let of = |vectors: &[Vec<f32>]| {
            let rows: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
            log_det(&cosines(&rows), rows.len(), 0.01).unwrap()
        };
        let clusters = of(&[angle(0.0), angle(1.0), angle(90.0), angle(91.0)]);
        // All six cosines are 1/3: the mean distance is that of the clusters.
        let spread: Vec<Vec<f32>> = (0..4)
            .map(|i| {
                let mut vector = vec![0.183_013; 4];
                vector[i] += 1.0;
                vector
            })
            .collect();
        assert!(of(&spread) > clusters);
        assert_eq!(log_det(&[], 0, 0.01), None);
        assert_eq!(log_det(&[1.0, f64::NAN, f64::NAN, 1.0], 2, 0.01), None);
    }
}
