//! Line editor of the SQL shell: history, completion, multi-line statements.

use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Helper};

use super::command;
use super::complete::{Names, complete};
use super::input::{is_command, is_complete};

const PROMPT: &str = "polyphony> ";

/// The width in characters where the terminal does not report one.
const WIDTH: usize = 80;

/// One input of the user.
pub(super) enum Line {
    /// Statements or a meta command.
    Text(String),
    /// Ctrl-C, or an empty line.
    Cleared,
    /// Ctrl-D.
    End,
}

/// The editor with its history, which is written when the editor is dropped.
pub(super) struct Editor {
    editor: rustyline::Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
}

impl Editor {
    /// An editor with the history of earlier sessions, if there is one.
    pub(super) fn new() -> rustyline::Result<Self> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .build();
        let mut editor = rustyline::Editor::with_config(config)?;
        editor.set_helper(Some(Assistant::default()));
        let history = history_file(|name| std::env::var_os(name).map(PathBuf::from));
        if let Some(file) = &history {
            // Before the first session there is no history file: that is not an error.
            drop(editor.load_history(file));
        }
        Ok(Self { editor, history })
    }

    /// Sets the names that completion offers.
    pub(super) fn set_names(&mut self, names: Names) {
        if let Some(assistant) = self.editor.helper_mut() {
            assistant.names = names;
        }
    }

    /// The terminal's width in characters.
    pub(super) fn width(&mut self) -> usize {
        let columns = self.editor.dimensions();
        columns.map_or(WIDTH, |(columns, _)| usize::from(columns))
    }

    /// Reads statements up to the semicolon that ends them, or one meta command.
    pub(super) fn read(&mut self) -> rustyline::Result<Line> {
        let read = tokio::task::block_in_place(|| self.editor.readline(PROMPT));
        match read {
            Ok(text) if text.trim().is_empty() => Ok(Line::Cleared),
            Ok(text) => {
                self.editor.add_history_entry(text.trim())?;
                Ok(Line::Text(text))
            }
            Err(ReadlineError::Interrupted) => Ok(Line::Cleared),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        if let Some(file) = &self.history {
            // A history that cannot be written is not worth an error at exit.
            if let Some(folder) = file.parent() {
                drop(std::fs::create_dir_all(folder));
            }
            drop(self.editor.append_history(file));
        }
    }
}

/// The history's file: `$XDG_STATE_HOME/polyphony/sql_history`, by default under `~/.local/state`.
fn history_file(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let folder = variable("XDG_STATE_HOME")
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(variable("HOME")?.join(".local/state")))?;
    Some(folder.join("polyphony/sql_history"))
}

#[derive(Default)]
struct Assistant {
    names: Names,
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(&self.names, &line[..position]))
    }
}

impl Validator for Assistant {
    /// Only an incomplete statement continues on the next line: an invalid one is run to show its error, and
    /// the next input starts on an empty line.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        let ready = text.trim().is_empty()
            || is_command(text)
            || command::plain_word(text).is_some()
            || is_complete(text);
        Ok(if ready {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Helper for Assistant {}
impl Hinter for Assistant {
    type Hint = String;
}
impl Highlighter for Assistant {}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::history_file;

    #[test]
    fn history_is_in_the_state_folder() {
        let under = |state: Option<&str>, home: Option<&str>| {
            history_file(|name| match name {
                "XDG_STATE_HOME" => state.map(PathBuf::from),
                "HOME" => home.map(PathBuf::from),
                _ => None,
            })
        };
        let file = |text: &str| Some(PathBuf::from(text));
        assert_eq!(
            under(Some("/state"), Some("/home/a")),
            file("/state/polyphony/sql_history")
        );
        assert_eq!(
            under(None, Some("/home/a")),
            file("/home/a/.local/state/polyphony/sql_history")
        );
        // By the XDG specification relative paths are ignored.
        assert_eq!(
            under(Some("state"), Some("/h")),
            file("/h/.local/state/polyphony/sql_history")
        );
        assert_eq!(under(None, None), None);
    }
}
