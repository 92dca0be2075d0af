//! Adapter curve: the models that are one adapter at several scales, in order of scale, from the model without
//! the adapter (0) to the adapter as trained (1) (adapter interpolation, arXiv 2510.17426).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::evaluation::Evaluation;
use crate::outputs::AdapterScale;

/// An adapter at two or more scales.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterCurve {
    /// The name of the adapter: that of its models without the scale.
    pub adapter: String,
    /// The models in order of scale.
    pub points: Vec<CurvePoint>,
}

/// A model of a curve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CurvePoint {
    /// The name of the model.
    pub model: String,
    /// The scale of the adapter.
    pub adapter_scale: f64,
}

/// The curves of an evaluation, by name of the adapter.
pub fn adapter_curves(evaluation: &Evaluation<'_>) -> Vec<AdapterCurve> {
    let mut curves: BTreeMap<String, Vec<CurvePoint>> = BTreeMap::new();
    for (model, cells) in evaluation.models.iter().zip(&evaluation.cells) {
        let texts = cells.iter().flatten().flat_map(|cell| &cell.texts);
        let scales = texts.map(|text| text.output.adapter_scale.as_ref());
        if let Some(AdapterScale { adapter, scale }) = common(scales) {
            curves.entry(adapter.clone()).or_default().push(CurvePoint {
                model: model.clone(),
                adapter_scale: *scale,
            });
        }
    }
    let curves = curves.into_iter().filter(|(_, points)| points.len() > 1);
    let curves = curves.map(|(adapter, mut points)| {
        points.sort_by(|a, b| a.adapter_scale.total_cmp(&b.adapter_scale));
        AdapterCurve { adapter, points }
    });
    curves.collect()
}

/// The scale of all texts; `None` if one has none or another.
fn common<'a>(
    mut scales: impl Iterator<Item = Option<&'a AdapterScale>>,
) -> Option<&'a AdapterScale> {
    let first = scales.next()??;
    scales.all(|scale| scale == Some(first)).then_some(first)
}
