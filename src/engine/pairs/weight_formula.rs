//! Weight formula: how a run makes weights, in words for cards and summaries.

use std::fmt::Write as _;

use serde::Serialize;

use super::Options;

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The paper's formula (Chung et al. 2025, section 3) on the deviations.
    Deviation,
    /// No deviation was computed: all weights are 1.
    Constant,
    /// `--weight`: the value of this SQL expression, divided by its mean over the prompt.
    Expression(String),
    /// `--weight` with `--raw-weights`: the value of this SQL expression.
    RawExpression(String),
    /// Own SQL files in place of those that compute deviations or weights.
    OwnSql,
}

/// How a run makes weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightFormula {
    /// Where they come from.
    pub origin: Origin,
    /// The minimum weight of a chosen response.
    pub min_weight: f64,
    /// Whether the mean weight of the chosen responses of the training split was made 1.
    pub center_winners: bool,
}

impl WeightFormula {
    /// The formula that the options ask for.
    pub fn of(options: &Options) -> Self {
        let is_own = |name: &&str| options.pipeline.overrides(name);
        let scripts = [
            options.weights_script(),
            "40_deviation.sql",
            "60_pairs.sql",
            "60_weighted_rows.sql",
        ];
        let origin = match &options.weight {
            _ if scripts.iter().any(is_own) => Origin::OwnSql,
            Some(weight) if options.raw_weights => Origin::RawExpression(weight.text().to_owned()),
            Some(weight) => Origin::Expression(weight.text().to_owned()),
            None if options.spaces.is_empty() => Origin::Constant,
            None => Origin::Deviation,
        };
        Self {
            origin,
            min_weight: options.min_weight,
            center_winners: options.center_winners,
        }
    }

    /// Whether weights depend on the deviation in a space: an expression that names neither the deviation nor its
    /// scaled value does not.
    pub fn depends_on(&self, options: &Options, space: &str) -> bool {
        match (&self.origin, &options.weight) {
            (Origin::Constant, _) => false,
            (Origin::Expression(_) | Origin::RawExpression(_), Some(weight)) => {
                let columns = [format!("m_{space}"), format!("deviation_{space}")];
                columns.iter().any(|column| weight.names(column))
            }
            _ => true,
        }
    }

    /// Whether the weights of a prompt with two responses are 1 by construction: two vectors have one distance,
    /// so both deviations are equal.
    pub fn two_weigh_one(&self) -> bool {
        matches!(self.origin, Origin::Deviation | Origin::Constant)
            && self.min_weight <= 1.0
            && !self.center_winners
    }

    /// The formula in sentences that follow "`weight` multiplies the loss of the pair".
    pub fn sentence(&self) -> String {
        let mut text = match &self.origin {
            Origin::Deviation => {
                "It grows with the distance of the chosen story from the other stories to \
                its prompt, and has mean 1 over a prompt's stories."
                    .to_owned()
            }
            Origin::Constant => "It is 1: no deviation was computed.".to_owned(),
            Origin::Expression(sql) => format!(
                "It is the value of the SQL expression `{sql}` for the chosen story, divided by its mean over \
                 the prompt's stories."
            ),
            Origin::RawExpression(sql) => {
                format!("It is the value of the SQL expression `{sql}` for the chosen story.")
            }
            Origin::OwnSql => {
                "It was computed by own SQL files, which are listed below.".to_owned()
            }
        };
        if self.min_weight > 0.0 {
            let _ = write!(
                text,
                " Weights of chosen stories below {0} were raised to {0}.",
                self.min_weight
            );
        }
        if self.center_winners {
            text.push_str(
                " All weights were then divided by the mean weight of the chosen stories of the training \
                 split, which is therefore 1.",
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::Embedder;
    use crate::expression::Expression;

    #[test]
    fn weights_depend_on_the_spaces_that_an_expression_names() {
        let options = |weight: Option<&str>| Options {
            spaces: vec![
                ("semantic", Embedder::HashedNgrams),
                ("style", Embedder::Stylometric),
            ],
            weight: weight.map(|sql| Expression::parse("--weight", sql).unwrap()),
            ..Options::default()
        };
        let spaces = |options: &Options| {
            let formula = WeightFormula::of(options);
            ["semantic", "style"].map(|space| formula.depends_on(options, space))
        };
        assert_eq!(spaces(&options(None)), [true, true]);
        assert_eq!(spaces(&options(Some("m_semantic * words"))), [true, false]);
        assert_eq!(spaces(&options(Some("1 + deviation_style"))), [false, true]);
        assert_eq!(spaces(&options(Some("score"))), [false, false]);
        assert_eq!(spaces(&Options::default()), [false, false]);
    }
}
