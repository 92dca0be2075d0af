//! SQL expressions of the command line, as of `--weight` and `--where`, and their place in a SQL file.

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Value, visit_expressions, visit_expressions_mut};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::{Error, Result};
use polyphony_io::hash::{Sha256, hex};

/// A parsed SQL expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    option: &'static str,
    text: String,
    parsed: Expr,
}

impl Expression {
    /// Parses the value of an option (`--weight`) as one SQL expression.
    ///
    /// # Errors
    /// When it is not SQL, or more than one expression.
    pub fn parse(option: &'static str, text: &str) -> Result<Self> {
        let refused = |message: String| {
            let hint = "give one SQL expression over a response's columns, as `score > 10`";
            Error::config(option, message, hint)
        };
        let not_sql = |error: &dyn std::fmt::Display| {
            refused(format!("`{text}` is not a SQL expression ({error})"))
        };
        let mut parser = Parser::new(&GenericDialect {})
            .try_with_sql(text)
            .map_err(|error| not_sql(&error))?;
        let parsed = parser.parse_expr().map_err(|error| not_sql(&error))?;
        match parser.next_token().token {
            Token::EOF => Ok(Self {
                option,
                text: text.trim().to_owned(),
                parsed,
            }),
            rest => Err(refused(format!(
                "`{text}` goes on after the expression, at `{rest}`"
            ))),
        }
    }

    /// The option whose value it is, as the user types it.
    pub fn option(&self) -> &'static str {
        self.option
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The SHA-256 of its text, in hex.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.text))
    }

    /// Whether it names a column.
    pub fn names(&self, column: &str) -> bool {
        let named = |name: &str| name.eq_ignore_ascii_case(column);
        let found = visit_expressions(&self.parsed, |expression| {
            let is_it = match expression {
                Expr::Identifier(name) => named(&name.value),
                Expr::CompoundIdentifier(names) => {
                    names.last().is_some_and(|name| named(&name.value))
                }
                _ => false,
            };
            if is_it {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        found.is_break()
    }

    /// The error for an expression that names no column: DataFusion's, and the columns that there are.
    pub(crate) fn refused(&self, cause: &DataFusionError) -> Error {
        const RESPONSE: &str = "response_id, prompt_id, text, score, words, created_at, author_hash, prompt, \
            tag, title, body, split, prompt_score, prompt_created_at";
        let cause = cause.strip_backtrace();
        let cause = cause.lines().next().unwrap_or_default();
        let cause = cause
            .trim_start_matches("Schema error: ")
            .trim_end_matches('.');
        let weights = match self.option {
            "--weight" => "deviation_semantic, deviation_style, m_semantic, m_style, ",
            _ => "",
        };
        Error::config(
            self.option,
            format!("`{}`: {cause}", self.text),
            format!("its columns are {weights}{RESPONSE}"),
        )
    }

    /// Puts the expression, in parentheses, in the place of `placeholder` (`$weight`) in a statement.
    pub(crate) fn replace(&self, placeholder: &str, statement: &mut Statement) {
        let Statement::Statement(statement) = statement else {
            return;
        };
        // Children are visited first, so the expression is not searched for placeholders itself.
        let replaced = visit_expressions_mut(statement.as_mut(), |expression| {
            if let Expr::Value(value) = expression
                && value.value == Value::Placeholder(placeholder.to_owned())
            {
                *expression = Expr::Nested(Box::new(self.parsed.clone()));
            }
            ControlFlow::<()>::Continue(())
        });
        debug_assert!(replaced.is_continue());
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParserBuilder;

    use super::*;

    fn statements(text: &str) -> Vec<Statement> {
        let mut parser = DFParserBuilder::new(text).build().unwrap();
        parser.parse_statements().unwrap().into()
    }

    fn parse(text: &str) -> Result<Expression> {
        Expression::parse("--weight", text)
    }

    #[test]
    fn an_expression_is_put_in_parentheses_where_the_placeholder_stands() {
        let mut statements =
            statements("SELECT 2 * $weight AS x, $weight_2 FROM t WHERE $weight > 0");
        let sum = parse(" a + $weight ").unwrap();
        sum.replace("$weight", &mut statements[0]);
        assert_eq!(
            statements[0].to_string(),
            "SELECT 2 * (a + $weight) AS x, $weight_2 FROM t WHERE (a + $weight) > 0"
        );
    }

    #[test]
    fn what_is_not_one_expression_is_an_error() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert!(message("score +").contains("is not a SQL expression"));
        assert!(message("").contains("is not a SQL expression"));
        assert!(message("1; DROP TABLE x").contains("goes on after the expression, at `;`"));
        assert!(message("score, words").contains("at `,`"));
    }

    #[test]
    fn its_columns_are_known_by_name() {
        let expression =
            parse("coalesce(responses.Score, 0) * minmax(words) OVER (PARTITION BY tag)");
        let expression = expression.unwrap();
        assert!(expression.names("score"));
        assert!(expression.names("words") && expression.names("tag"));
        assert!(!expression.names("responses") && !expression.names("minmax"));
    }
}
