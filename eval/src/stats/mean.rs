//! Means and standard errors, with confidence intervals and tests by Student's t and the normal distribution.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The mean; NaN without a value.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean of `value(i, j)` over all pairs i < j < `n`. `None` for `n` < 2.
pub fn mean_of_pairs(n: usize, mut value: impl FnMut(usize, usize) -> f64) -> Option<f64> {
    let mut sum = 0.0;
    for i in 0..n {
        for j in i + 1..n {
            sum += value(i, j);
        }
    }
    (n > 1).then(|| sum / (n * (n - 1) / 2) as f64)
}

/// The sample standard deviation (denominator n - 1); NaN for fewer than two values.
pub fn sd(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (squares.sum::<f64>() / (values.len() as f64 - 1.0)).sqrt()
}

/// The standard error of the mean; NaN for fewer than two values.
pub fn se(values: &[f64]) -> f64 {
    sd(values) / (values.len() as f64).sqrt()
}

/// Cohen's d of paired differences (d with index z): mean over standard deviation; infinite or NaN where that
/// is 0.
pub fn cohen_dz(differences: &[f64]) -> f64 {
    mean(differences) / sd(differences)
}

/// The 0.975 quantile of Student's t distribution with `freedom` degrees of freedom; `None` unless above 0.
pub fn t_quantile(freedom: f64) -> Option<f64> {
    let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
    Some(student.inverse_cdf(0.975))
}

/// The 95 % confidence interval of the mean by Student's t distribution. `None` for fewer than two values.
pub fn t_interval(values: &[f64]) -> Option<[f64; 2]> {
    let half = t_quantile(values.len() as f64 - 1.0)? * se(values);
    Some([mean(values) - half, mean(values) + half])
}

/// The 95 % confidence interval of the mean by the normal distribution.
pub fn normal_interval(values: &[f64]) -> [f64; 2] {
    let half = Normal::standard().inverse_cdf(0.975) * se(values);
    [mean(values) - half, mean(values) + half]
}

/// The two-sided p-value of the paired t-test, from the differences (scipy: `ttest_rel`).
pub fn t_test(differences: &[f64]) -> Option<f64> {
    let t = mean(differences) / se(differences);
    two_sided_t(t, differences.len() as f64 - 1.0)
}

/// The two-sided p-value of a t statistic with `freedom` degrees of freedom.
pub fn two_sided_t(t: f64, freedom: f64) -> Option<f64> {
    let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
    t.is_finite().then(|| 2.0 * student.sf(t.abs()))
}

/// The two-sided p-value of a z statistic.
pub fn two_sided_normal(z: f64) -> f64 {
    2.0 * Normal::standard().sf(z.abs())
}
