//! Lenient deserialization of Reddit's fields, whose JSON types changed over the years.
//! A value of an unexpected type counts as absent.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// An integer that may be stored as integer, float or string; other values count as absent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Integer(pub Option<i64>);

/// A string; null, numbers and objects count as absent.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Text<'a>(pub Option<Cow<'a, str>>);

/// A boolean; other values count as false.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Flag(pub bool);

impl Text<'_> {
    /// The text; empty when absent.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntegerVisitor).map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FlagVisitor).map(Self)
    }
}

struct IntegerVisitor;
struct TextVisitor;
struct FlagVisitor;

/// Visitor methods that return "absent" for values of other types.
macro_rules! absent {
    ($value:expr; $($name:ident($of:ty)),*) => {
        $(fn $name<E: Error>(self, _: $of) -> Result<Self::Value, E> {
            Ok($value)
        })*
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

impl<'de> Visitor<'de> for IntegerVisitor {
    type Value = Option<i64>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number, or a number as text")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).ok())
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok((value.abs() < 9e18).then_some(value as i64))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        let value = value.trim();
        match value.parse::<i64>() {
            Ok(integer) => Ok(Some(integer)),
            Err(_) => value
                .parse::<f64>()
                .map_or(Ok(None), |float| self.visit_f64(float)),
        }
    }

    absent!(None; visit_bool(bool));
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(value.to_owned())))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(value)))
    }

    absent!(None; visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64));
}

impl<'de> Visitor<'de> for FlagVisitor {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(value)
    }

    absent!(false; visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(json: &str) -> Option<i64> {
        serde_json::from_str::<Integer>(json).unwrap().0
    }

    #[test]
    fn integers_are_read_from_every_json_type() {
        assert_eq!(integer("1546322416"), Some(1_546_322_416));
        assert_eq!(integer("1546322416.0"), Some(1_546_322_416));
        assert_eq!(integer("\"1546322416\""), Some(1_546_322_416));
        assert_eq!(integer("\" 12.7 \""), Some(12));
        assert_eq!(integer("-3"), Some(-3));
        for absent in [
            "null",
            "true",
            "\"soon\"",
            "[1]",
            "{\"a\":1}",
            "1e300",
            "18446744073709551615",
        ] {
            assert_eq!(integer(absent), None, "{absent}");
        }
    }

    #[test]
    fn texts_are_borrowed_when_nothing_is_escaped() {
        let plain: Text<'_> = serde_json::from_str("\"plain\"").unwrap();
        assert!(matches!(plain.0, Some(Cow::Borrowed("plain"))));
        let escaped: Text<'_> = serde_json::from_str("\"a\\nb\"").unwrap();
        assert_eq!(escaped.as_str(), "a\nb");
        for absent in ["null", "3", "2.5", "false", "[\"x\"]", "{}"] {
            assert_eq!(
                serde_json::from_str::<Text<'_>>(absent).unwrap().0,
                None,
                "{absent}"
            );
        }
    }
}
