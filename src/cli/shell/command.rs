//! Meta commands of the SQL shell, named as in psql: `\d`, `\x`, `\timing`, `\q`.

use clap::ValueEnum as _;

use super::print::Format;

/// A parsed meta command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// `\q`: leave.
    Quit,
    /// `\?`: list the commands.
    Help,
    /// `\d`: list tables.
    Tables,
    /// `\d TABLE`: list a table's columns.
    Columns(String),
    /// `\h [FUNCTION]`: list functions, or those whose names contain a text.
    Functions(Option<String>),
    /// `\i FILE`: run a file.
    Include(String),
    /// `\o FORMAT`: set the output format.
    Format(Format),
    /// `\x [on|off]`: expanded display, one line a column instead of one line a row.
    Expanded(Option<bool>),
    /// `\timing [on|off]`: print how long a statement took.
    Timing(Option<bool>),
    /// `\rows N`: print at most N rows of a table, 0 for all.
    Rows(usize),
}

/// The commands with their arguments and help, in the order in which `\?` lists them.
pub(super) const COMMANDS: [(&str, &str); 10] = [
    ("\\d", "list tables and views"),
    ("\\d TABLE", "list the columns of a table or view"),
    ("\\h [TEXT]", "list functions whose names contain TEXT"),
    ("\\i FILE", "run the statements of a file"),
    (
        "\\o FORMAT",
        "output format: table, csv, tsv, json or ndjson",
    ),
    ("\\rows N", "print at most N rows of a table, 0 for all"),
    ("\\timing [on|off]", "print how long each statement took"),
    (
        "\\x [on|off]",
        "expanded output: one line a column, values in full",
    ),
    ("\\?", "show this list"),
    ("\\q", "leave (also Ctrl-D, exit, quit)"),
];

/// Commands without a backslash (exit, quit, help), since users type them into any shell.
pub(super) fn plain_word(line: &str) -> Option<Command> {
    match line.trim().trim_end_matches(';').trim_end() {
        "exit" | "quit" => Some(Command::Quit),
        "help" => Some(Command::Help),
        _ => None,
    }
}

impl std::str::FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let line = line.trim().trim_end_matches(';').trim_end();
        let (name, argument) = match line.split_once(char::is_whitespace) {
            Some((name, argument)) => (name, Some(argument.trim())),
            None => (line, None),
        };
        let required = |what: &str| {
            argument
                .map(str::to_owned)
                .ok_or_else(|| format!("{name} needs {what}"))
        };
        match name {
            "\\q" => Ok(Self::Quit),
            "\\?" => Ok(Self::Help),
            "\\d" => Ok(argument.map_or(Self::Tables, |table| Self::Columns(table.to_owned()))),
            "\\h" => Ok(Self::Functions(argument.map(str::to_owned))),
            "\\i" => required("a file").map(Self::Include),
            "\\o" => {
                let text = required("a format: table, csv, tsv, json or ndjson")?;
                Format::from_str(&text, true).map(Self::Format).map_err(|_| {
                    format!(
                        "unknown format `{text}`: known are table, csv, tsv, json, ndjson; a file is \
                         written with COPY (SELECT ...) TO 'FILE'"
                    )
                })
            }
            "\\x" => switch(name, argument).map(Self::Expanded),
            "\\timing" => switch(name, argument).map(Self::Timing),
            "\\rows" => {
                let text = required("a number of rows")?;
                text.parse()
                    .map(Self::Rows)
                    .map_err(|_| format!("\\rows needs a whole number (got `{text}`)"))
            }
            _ => Err(format!("unknown command `{name}`: \\? lists the commands")),
        }
    }
}

/// Parses `on`, `off`, or no argument, which toggles the setting.
fn switch(name: &str, argument: Option<&str>) -> Result<Option<bool>, String> {
    match argument {
        None => Ok(None),
        Some("on") => Ok(Some(true)),
        Some("off") => Ok(Some(false)),
        Some(other) => Err(format!("{name} takes on or off (got `{other}`)")),
    }
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, Command, Format, plain_word};

    #[test]
    fn every_listed_command_is_parsed() {
        for (usage, _) in COMMANDS {
            let call = usage
                .replace("[TEXT]", "embed")
                .replace("[on|off]", "on")
                .replace("FORMAT", "csv")
                .replace(" N", " 5");
            assert!(call.parse::<Command>().is_ok(), "{call}");
        }
    }

    #[test]
    fn commands_with_arguments() {
        let parse = |text: &str| text.parse::<Command>();
        assert_eq!(parse("\\d"), Ok(Command::Tables));
        assert_eq!(
            parse("\\d  responses;"),
            Ok(Command::Columns("responses".to_owned()))
        );
        assert_eq!(parse("\\o JSON"), Ok(Command::Format(Format::Json)));
        assert_eq!(parse("\\x"), Ok(Command::Expanded(None)));
        assert_eq!(parse("\\timing off"), Ok(Command::Timing(Some(false))));
        assert_eq!(parse("\\rows 0"), Ok(Command::Rows(0)));
    }

    #[test]
    fn errors_name_the_wrong_part_and_the_valid_choices() {
        let error = |text: &str| text.parse::<Command>().err().unwrap_or_default();
        assert!(error("\\list").contains("unknown command `\\list`: \\? lists"));
        assert!(error("\\o results.csv").contains("COPY (SELECT ...) TO"));
        assert!(error("\\o").contains("needs a format"));
        assert!(error("\\x maybe").contains("on or off (got `maybe`)"));
        assert!(error("\\rows many").contains("whole number (got `many`)"));
    }

    #[test]
    fn quit_and_help_work_without_a_backslash() {
        assert_eq!(plain_word("exit"), Some(Command::Quit));
        assert_eq!(plain_word(" quit ;"), Some(Command::Quit));
        assert_eq!(plain_word("help"), Some(Command::Help));
        assert_eq!(plain_word("SELECT 1"), None);
    }
}
