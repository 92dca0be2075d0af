//! Multiple testing: Holm and Benjamini-Hochberg corrections of p-values (statsmodels: `multipletests`).

/// Adjusted p-values by Holm's step-down method (Holm 1979), which controls the family-wise error rate
/// (statsmodels: `holm`).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut running_max = 0.0_f64;
    for (rank, &at) in order.iter().enumerate() {
        running_max = running_max.max(p[at] * (p.len() - rank) as f64).min(1.0);
        adjusted[at] = running_max;
    }
    adjusted
}

/// Adjusted p-values by the step-up method of Benjamini & Hochberg (1995), which controls the false discovery
/// rate (statsmodels: `fdr_bh`).
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut running_min = 1.0_f64;
    for (rank, &at) in order.iter().enumerate().rev() {
        running_min = running_min.min(p[at] * p.len() as f64 / (rank + 1) as f64);
        adjusted[at] = running_min;
    }
    adjusted
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    order
}
