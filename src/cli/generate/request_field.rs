//! Request fields: `NAME=VALUE` of `--request-field`, with a JSON value.

use serde_json::Value;

/// Parses `NAME=VALUE`. A value that is not JSON is taken as text.
pub(super) fn parse(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or(Value::from(value));
            Ok((name.to_owned(), value))
        }
        _ => Err("must be NAME=VALUE, with a JSON value".to_owned()),
    }
}

/// An f32 as a JSON number with the same shortest decimal: 0.05, not 0.05000000074505806.
pub(super) fn decimal(number: f32) -> Value {
    Value::from(
        number
            .to_string()
            .parse::<f64>()
            .unwrap_or(f64::from(number)),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_json_or_text() {
        let value = |text: &str| parse(text).map(|(name, value)| format!("{name} {value}"));
        assert_eq!(value("n=4").as_deref(), Ok("n 4"));
        assert_eq!(value("max_tokens=null").as_deref(), Ok("max_tokens null"));
        assert_eq!(value("effort=low").as_deref(), Ok("effort \"low\""));
        assert_eq!(value("stop=[\"=\"]").as_deref(), Ok("stop [\"=\"]"));
        assert!(parse("n").is_err() && parse("=1").is_err());
        assert_eq!(decimal(0.05), json!(0.05));
    }
}
