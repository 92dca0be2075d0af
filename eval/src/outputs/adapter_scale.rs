//! Adapter scale: outputs that were sampled at several scales of one adapter (`polyphony generate
//! --adapter-scale`), told apart by name and joined as points of one curve.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Output;

/// The column of the scale: a number by which the adapter's update of the weights was multiplied; 0 is the model
/// without the adapter, 1 the adapter as it was trained.
pub(super) const COLUMN: &str = "adapter_scale";

/// The scale of the adapter that a text was sampled with.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterScale {
    /// The name of the model without its scale: `ddpo` of `ddpo@scale=0.5`.
    pub adapter: String,
    /// The scale.
    pub scale: f64,
}

/// The name of a model without a scale at its end (`NAME@scale=0.5`); the name itself if it has none.
pub(super) fn without_scale(model: &str, scale: f64) -> &str {
    match model.rsplit_once("@scale=") {
        Some((name, number)) if number.parse() == Ok(scale) && !name.is_empty() => name,
        _ => model,
    }
}

/// The name of a model at a scale.
pub(super) fn at_scale(name: &str, scale: f64) -> String {
    format!("{name}@scale={scale}")
}

/// Takes the scale off the names that got one (`appended`: name with scale to name without), where a name has one
/// scale only.
pub(super) fn drop_single_scales(rows: &mut [Output], appended: &HashMap<String, String>) {
    let names: BTreeSet<&str> = rows.iter().map(|row| row.model.as_str()).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &names {
        let plain = appended.get(*name).map_or(*name, String::as_str);
        *counts.entry(plain).or_default() += 1;
    }
    let single: BTreeSet<String> = counts
        .into_iter()
        .filter(|(_, count)| *count == 1)
        .map(|(name, _)| name.to_owned())
        .collect();
    for row in rows {
        if let Some(plain) = appended
            .get(&row.model)
            .filter(|plain| single.contains(*plain))
        {
            row.model.clone_from(plain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_with_the_scale_or_do_not() {
        assert_eq!(without_scale("a/b@main@scale=0.5", 0.5), "a/b@main");
        assert_eq!(without_scale("m@scale=0.50", 0.5), "m");
        assert_eq!(without_scale("m@1", 1.0), "m@1");
        assert_eq!(without_scale("m@scale=1", 0.5), "m@scale=1");
        assert_eq!(without_scale("m-1", 1.0), "m-1");
        assert_eq!(without_scale(&at_scale("m", 0.25), 0.25), "m");
        assert_eq!(at_scale("m", 1.0), "m@scale=1");
    }
}
