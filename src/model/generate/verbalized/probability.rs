//! Probability: the number in [0, 1] that a model wrote next to an answer.

use serde_json::Value;

/// The probability in a text such as `0.12`, `~.12`, `12%`, `0,12` or `1/8`; `None` if there is no number in
/// [0, 1].
pub(super) fn parse_probability(text: &str) -> Option<f64> {
    let is_around = |letter: char| letter.is_whitespace() || "\"'`~≈=<>:()*".contains(letter);
    let text = text.trim_matches(is_around);
    let value = if let Some(percent) = text.strip_suffix('%') {
        decimal(percent.trim_end())? / 100.0
    } else if let Some((over, under)) = text.split_once('/') {
        decimal(over.trim_end())? / decimal(under.trim_start())?
    } else {
        decimal(text)?
    };
    (0.0..=1.0).contains(&value).then_some(value)
}

/// The probability of a JSON value: a number, or a text as in [`parse_probability`].
pub(super) fn probability_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => parse_probability(&number.to_string()),
        Value::String(text) => parse_probability(text),
        _ => None,
    }
}

/// A finite decimal number, with a point or a comma.
fn decimal(text: &str) -> Option<f64> {
    let number: f64 = text.replacen(',', ".", 1).parse().ok()?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn probabilities_in_many_notations() {
        for (text, expected) in [
            ("0.12", Some(0.12)),
            (" .12 ", Some(0.12)),
            ("0,12", Some(0.12)),
            ("~0.12", Some(0.12)),
            ("\"0.12\"", Some(0.12)),
            ("**0.12**", Some(0.12)),
            ("12%", Some(0.12)),
            ("12 %", Some(0.12)),
            ("1/8", Some(0.125)),
            ("1e-3", Some(0.001)),
            ("0", Some(0.0)),
            ("1", Some(1.0)),
            ("12", None),
            ("-0.1", None),
            ("101%", None),
            ("1/0", None),
            ("NaN", None),
            ("inf", None),
            ("low", None),
            ("", None),
        ] {
            assert_eq!(parse_probability(text), expected, "{text:?}");
        }
        assert_eq!(probability_of(&json!(0.25)), Some(0.25));
        assert_eq!(probability_of(&json!("25%")), Some(0.25));
        assert_eq!(probability_of(&json!(null)), None);
        assert_eq!(probability_of(&json!([0.25])), None);
    }
}
