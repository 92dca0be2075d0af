//! Bounds of hyperparameters, and the error for a value out of bounds.

use std::fmt;

use polyphony_io::{Error, Result};

/// The range of valid values of a hyperparameter; infinity and NaN are always invalid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    /// Greater than.
    Above(f64),
    /// Greater than or equal to.
    AtLeast(f64),
    /// Greater than or equal to the first, less than the second.
    Within(f64, f64),
}

impl Bound {
    fn contains(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Self::Above(low) => value > low,
                Self::AtLeast(low) => value >= low,
                Self::Within(low, high) => (low..high).contains(&value),
            }
    }

    /// Checks the value of a hyperparameter; the error has its `name` as in the TOML file, the value and the bound.
    pub(super) fn check(self, name: &str, value: impl Number) -> Result<()> {
        match value.number() {
            Some(value) if !self.contains(value) => {
                let flag = name.replace('_', "-");
                let message = format!("must be {self} (got {value})");
                let hint = "see `polyphony train --help`";
                Err(Error::config(format!("--{flag}"), message, hint))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above(low) => write!(f, "> {low}"),
            Self::AtLeast(low) => write!(f, ">= {low}"),
            Self::Within(low, high) => write!(f, "in [{low}, {high})"),
        }
    }
}

/// A value that a bound applies to.
pub(super) trait Number {
    /// The number as f64; none for an option that is not set.
    fn number(self) -> Option<f64>;
}

impl Number for f64 {
    fn number(self) -> Option<f64> {
        Some(self)
    }
}

impl Number for usize {
    fn number(self) -> Option<f64> {
        Some(self as f64)
    }
}

impl<T: Number> Number for Option<T> {
    fn number(self) -> Option<f64> {
        self.and_then(Number::number)
    }
}

#[cfg(test)]
mod tests {
    use super::Bound::{Above, AtLeast, Within};

    #[test]
    fn errors_have_value_and_bound() {
        let message = |result: polyphony_io::Result<()>| result.unwrap_err().to_string();
        for (result, expected) in [
            (Above(0.0).check("beta", 0.0), "--beta: must be > 0 (got 0)"),
            (
                AtLeast(1.0).check("batch_size", Some(0_usize)),
                "--batch-size: must be >= 1 (got 0)",
            ),
            (
                Within(0.0, 0.5).check("label_smoothing", 0.5),
                "--label-smoothing: must be in [0, 0.5) (got 0.5)",
            ),
            (AtLeast(0.0).check("lambda", f64::NAN), "(got NaN)"),
        ] {
            let message = message(result);
            assert!(message.contains(expected), "{message}");
        }
        assert!(AtLeast(1.0).check("batch_size", None::<usize>).is_ok());
        assert!(Within(0.0, 0.5).check("label_smoothing", 0.0).is_ok());
    }
}
