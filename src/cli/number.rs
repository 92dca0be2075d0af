//! Number parsers with bounds: value parsers for clap.

use std::fmt::Display;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;

/// A value parser of finite numbers within a range such as `0.0..=1.0`.
pub(crate) fn number<T>(
    range: impl RangeBounds<f64> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + Copy + Into<f64> + Send + Sync + 'static,
{
    move |text: &str| {
        let number = text
            .parse::<T>()
            .map_err(|_| "is not a number".to_owned())?;
        let value: f64 = number.into();
        if value.is_finite() && range.contains(&value) {
            Ok(number)
        } else {
            Err(format!("must be {}", describe(&range)))
        }
    }
}

/// A value parser of finite numbers greater than `bound`.
pub(crate) fn above<T>(
    bound: f64,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + Copy + Into<f64> + Send + Sync + 'static,
{
    number((Bound::Excluded(bound), Bound::Unbounded))
}

/// The bounds as text for error messages: `>= 0`, `> 0`, `>= 0 and <= 1`.
fn describe(range: &impl RangeBounds<f64>) -> String {
    let bound = |included: &str, excluded: &str, bound: Bound<&f64>| {
        let (sign, value): (&str, &dyn Display) = match bound {
            Bound::Included(value) => (included, value),
            Bound::Excluded(value) => (excluded, value),
            Bound::Unbounded => return None,
        };
        Some(format!("{sign} {value}"))
    };
    let bounds = [
        bound(">=", ">", range.start_bound()),
        bound("<=", "<", range.end_bound()),
    ];
    let bounds: Vec<String> = bounds.into_iter().flatten().collect();
    if bounds.is_empty() {
        return "a finite number".to_owned();
    }
    bounds.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked_and_named() {
        let probability = number::<f32>(0.0..=1.0);
        assert_eq!(probability("0.5"), Ok(0.5));
        assert_eq!(probability("2"), Err("must be >= 0 and <= 1".to_owned()));
        assert_eq!(probability("x"), Err("is not a number".to_owned()));
        assert_eq!(above::<f64>(0.0)("0"), Err("must be > 0".to_owned()));
        assert_eq!(
            number::<f64>(..)("inf"),
            Err("must be a finite number".to_owned())
        );
    }
}
