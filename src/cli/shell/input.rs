//! Input of the SQL shell: statements that end in `;`, and meta commands, lines that begin with `\`.

use polyphony_engine::datafusion::error::Result;
use polyphony_engine::datafusion::sql::sqlparser::dialect::GenericDialect;
use polyphony_engine::datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use polyphony_engine::sql;

/// One input: a statement or a meta command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A SQL statement without its semicolon.
    Statement(String),
    /// A meta command with its leading `\`.
    Command(String),
}

/// An iterator over the inputs of a text. It parses lazily, so that a syntax error only affects the inputs after
/// it.
pub(super) struct Inputs<'a> {
    lines: std::str::SplitInclusive<'a, char>,
    ready: std::vec::IntoIter<String>,
}

impl<'a> Inputs<'a> {
    /// The inputs of a text.
    pub(super) fn of(text: &'a str) -> Self {
        Self {
            lines: text.split_inclusive('\n'),
            ready: Vec::new().into_iter(),
        }
    }
}

impl Iterator for Inputs<'_> {
    type Item = Result<Input>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(statement) = self.ready.next() {
            return Some(Ok(Input::Statement(statement)));
        }
        let mut statements = String::new();
        for line in self.lines.by_ref() {
            if statements.trim().is_empty() && is_command(line) {
                return Some(Ok(Input::Command(line.trim().to_owned())));
            }
            statements.push_str(line);
            if line.contains(';') && is_complete(&statements) {
                break;
            }
        }
        match sql::split(&statements) {
            Ok(split) => self.ready = split.into_iter(),
            Err(error) => return Some(Err(error)),
        }
        match self.ready.next() {
            Some(statement) => Some(Ok(Input::Statement(statement))),
            // Only comments and semicolons: go on with the input after them.
            None if !statements.is_empty() => self.next(),
            None => None,
        }
    }
}

/// Whether a line is a meta command.
pub(super) fn is_command(line: &str) -> bool {
    line.trim_start().starts_with('\\')
}

/// Whether a text is complete: its last token is a semicolon outside quotes and comments. A text that the
/// tokenizer rejects for another reason than an open quote counts as complete: running it shows the error.
pub(super) fn is_complete(text: &str) -> bool {
    match Tokenizer::new(&GenericDialect {}, text).tokenize() {
        Ok(tokens) => {
            let last = tokens
                .iter()
                .rfind(|token| !matches!(token, Token::Whitespace(_)));
            last == Some(&Token::SemiColon)
        }
        Err(error) => {
            let open = ["unterminated", "unexpected eof", "before eof"];
            let message = error.message.to_lowercase();
            !open.iter().any(|part| message.contains(part))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Input, Inputs, is_complete};

    fn split(text: &str) -> Vec<String> {
        Inputs::of(text)
            .map(|input| match input.unwrap() {
                Input::Statement(text) => text.trim().to_owned(),
                Input::Command(text) => format!("command {text}"),
            })
            .collect()
    }

    #[test]
    fn statements_end_at_semicolons_outside_quotes_and_comments() {
        assert_eq!(
            split("SELECT ';' AS \"a;b\" -- no; end\n, 2 /* ; */; SELECT\n3;\nSELECT 4"),
            [
                "SELECT ';' AS \"a;b\" -- no; end\n, 2 /* ; */",
                "SELECT\n3",
                "SELECT 4"
            ]
        );
        assert_eq!(split(""), Vec::<String>::new());
        assert_eq!(split(" ;;\n-- only a comment;\n;\nSELECT 1;"), ["SELECT 1"]);
    }

    #[test]
    fn meta_commands_are_read_between_statements() {
        assert_eq!(
            split("\\d\nSELECT 1;\n  \\x\nSELECT '\n\\d\n';"),
            ["command \\d", "SELECT 1", "command \\x", "SELECT '\n\\d\n'"]
        );
    }

    #[test]
    fn an_open_quote_is_an_error_after_the_statements_before_it() {
        let inputs: Vec<_> = Inputs::of("SELECT 1;\nSELECT 'open").collect();
        assert!(inputs[0].is_ok());
        assert!(inputs[1].is_err());
        assert_eq!(inputs.len(), 2);
    }

    #[test]
    fn a_text_is_complete_when_its_last_token_is_a_semicolon() {
        for text in ["SELECT 1;", "SELECT 1; -- done", "SELEC nonsense;", "a;b;"] {
            assert!(is_complete(text), "{text}");
        }
        for text in [
            "SELECT 1",
            "SELECT ';",
            "SELECT \";",
            "SELECT 1 -- ;",
            "/* ;",
            "",
        ] {
            assert!(!is_complete(text), "{text}");
        }
    }
}
