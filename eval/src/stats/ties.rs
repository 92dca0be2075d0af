//! Ties: sizes of the groups of equal values, for tie corrections (scipy: `tiecorrect`).

/// How many values share each rank, where more than one does.
pub fn ties(values: &[f64]) -> Vec<usize> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let groups = sorted.chunk_by(|a, b| a == b).map(<[f64]>::len);
    groups.filter(|size| *size > 1).collect()
}
