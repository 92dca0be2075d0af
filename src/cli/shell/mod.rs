//! SQL shell: runs statements and meta commands, from a terminal, a pipe, a file or an argument.

mod command;
mod complete;
mod editor;
mod input;
mod print;
mod table;

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use polyphony_engine::Error;
use polyphony_engine::datafusion::error::{DataFusionError, Result};
use polyphony_engine::datafusion::prelude::SessionContext;

use self::command::{COMMANDS, Command};
use self::complete::Names;
use self::editor::{Editor, Line};
use self::input::{Input, Inputs};
pub(crate) use self::print::Format;
use self::print::{Extent, Printed, Settings};
use super::terminal;

/// The default maximum number of rows of a table in a terminal; `\rows` changes it.
const ROWS: usize = 40;

/// The SQL shell: a session with the settings that meta commands change.
pub(crate) struct Shell {
    context: SessionContext,
    settings: Settings,
    timing: bool,
}

/// Whether the shell continues after an input.
enum Next {
    Continue,
    Leave,
}

impl Shell {
    /// A shell on a session.
    pub(crate) fn new(context: SessionContext, format: Format) -> Self {
        let settings = Settings {
            format,
            expanded: false,
            extent: Extent::Full,
        };
        Self {
            context,
            settings,
            timing: false,
        }
    }

    /// Runs the inputs of a text up to the first that fails; the error has `source` and the number of the
    /// statement.
    pub(crate) async fn script(&mut self, source: &str, text: &str) -> anyhow::Result<()> {
        self.inputs(source, text).await.map(drop)
    }

    /// Runs the inputs of a text up to the first that fails.
    async fn inputs(&mut self, source: &str, text: &str) -> anyhow::Result<Next> {
        let mut number = 0;
        for input in Inputs::of(text) {
            let statement = match input {
                Ok(Input::Command(line)) => {
                    let command = line.parse::<Command>().map_err(anyhow::Error::msg);
                    let command = command.with_context(|| source.to_owned())?;
                    if let Next::Leave = Box::pin(self.command(command)).await? {
                        return Ok(Next::Leave);
                    }
                    continue;
                }
                Ok(Input::Statement(statement)) => Ok(statement),
                Err(error) => Err(error),
            };
            number += 1;
            let ended = match statement {
                Ok(statement) => self.statement(&statement).await,
                Err(error) => Err(error),
            };
            match ended {
                // A reader such as `head` closes the pipe once it has enough rows: not an error.
                Err(error) if is_closed_pipe(&error) => return Ok(Next::Leave),
                ended => ended.map_err(|cause| Error::Sql {
                    file: source.to_owned(),
                    statement: number,
                    cause: Box::new(cause),
                })?,
            }
        }
        Ok(Next::Continue)
    }

    /// Reads lines from the terminal until the user leaves. A statement that fails is reported, and the
    /// next one starts on an empty line.
    pub(crate) async fn interactive(mut self, store: Option<&Path>) -> anyhow::Result<()> {
        let mut editor = Editor::new().context("cannot start the line editor")?;
        let store = store.map_or_else(|| "no store".to_owned(), |path| path.display().to_string());
        terminal::print_message(&format!(
            "polyphony {} on {store}: end statements with `;`, \\d lists tables, \\? lists commands, \
             \\q leaves",
            env!("CARGO_PKG_VERSION")
        ));
        loop {
            editor.set_names(Names::of(&self.context).await);
            self.settings.extent = Extent::Fitted {
                rows: match self.settings.extent {
                    Extent::Fitted { rows, .. } => rows,
                    Extent::Full => ROWS,
                },
                width: editor.width(),
            };
            let text = match editor.read()? {
                Line::Text(text) => text,
                Line::Cleared => continue,
                Line::End => return Ok(()),
            };
            let next = tokio::select! {
                next = self.line(&text) => next,
                _ = tokio::signal::ctrl_c() => {
                    terminal::print_message("cancelled");
                    Ok(Next::Continue)
                }
            };
            match next {
                Ok(Next::Continue) => {}
                Ok(Next::Leave) => return Ok(()),
                Err(error) => terminal::error(&error),
            }
        }
    }

    /// Runs what the user entered: a command without a backslash, or statements and meta commands.
    async fn line(&mut self, text: &str) -> anyhow::Result<Next> {
        match command::plain_word(text) {
            Some(command) => self.command(command).await,
            None => self.inputs("input", text).await,
        }
    }

    /// Runs one statement and prints its result.
    async fn statement(&self, sql: &str) -> Result<()> {
        let started = Instant::now();
        let printed = self.query(sql, &self.settings).await?;
        let seconds = started.elapsed().as_secs_f64();
        let time = self.timing.then(|| format!("{seconds:.3} s"));
        let summary = match self.settings.extent {
            Extent::Fitted { .. } => Some(summary(printed)),
            Extent::Full => None,
        };
        let notes: Vec<String> = summary.into_iter().chain(time).collect();
        if !notes.is_empty() {
            terminal::print_message(&notes.join(", "));
        }
        Ok(())
    }

    /// Runs a query and prints its result on stdout.
    async fn query(&self, sql: &str, settings: &Settings) -> Result<Printed> {
        let frame = self.context.sql(sql).await?;
        let mut out = BufWriter::new(std::io::stdout());
        let printed = print::print(frame, settings, &mut out).await?;
        out.flush()?;
        Ok(printed)
    }

    /// Runs a meta command.
    async fn command(&mut self, command: Command) -> anyhow::Result<Next> {
        match command {
            Command::Quit => return Ok(Next::Leave),
            Command::Help => terminal::result(&help()),
            Command::Tables => {
                self.list(
                    "SELECT table_name, table_type FROM information_schema.tables \
                     WHERE table_schema <> 'information_schema' ORDER BY table_name",
                )
                .await?;
            }
            Command::Columns(table) => self.list(&format!("DESCRIBE {table}")).await?,
            Command::Functions(part) => {
                let part = part.unwrap_or_default().replace('\'', "''");
                self.list(&format!(
                    "SELECT DISTINCT routine_name AS name, function_type AS type, \
                     syntax_example AS call, description FROM information_schema.routines \
                     WHERE strpos(routine_name, lower('{part}')) > 0 ORDER BY name"
                ))
                .await?;
            }
            Command::Include(file) => {
                let path = Path::new(&file);
                let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
                return Box::pin(self.inputs(&file, &text)).await;
            }
            Command::Format(format) => self.settings.format = format,
            Command::Expanded(on) => {
                self.settings.expanded = on.unwrap_or(!self.settings.expanded);
                terminal::print_message(&format!("expanded: {}", on_off(self.settings.expanded)));
            }
            Command::Timing(on) => {
                self.timing = on.unwrap_or(!self.timing);
                terminal::print_message(&format!("timing: {}", on_off(self.timing)));
            }
            Command::Rows(limit) => {
                if let Extent::Fitted { rows, .. } = &mut self.settings.extent {
                    *rows = limit;
                }
            }
        }
        Ok(Next::Continue)
    }

    /// Prints all rows of a query that a meta command runs.
    async fn list(&self, sql: &str) -> anyhow::Result<()> {
        let mut settings = self.settings;
        settings.expanded = false;
        if let Extent::Fitted { rows, .. } = &mut settings.extent {
            *rows = 0;
        }
        match self.query(sql, &settings).await {
            Err(error) if !is_closed_pipe(&error) => Err(Error::from(error).into()),
            _ => Ok(()),
        }
    }
}

/// Whether the reader has closed the pipe. Arrow's CSV and JSON writers pass the system's error on as text only.
fn is_closed_pipe(error: &DataFusionError) -> bool {
    error.strip_backtrace().contains("Broken pipe")
}

/// The line under a table: its number of rows, and how to print rows and text that are not shown.
fn summary(printed: Printed) -> String {
    let rows = match printed {
        Printed {
            rows, more: true, ..
        } => format!("first {rows} rows (\\rows 0 prints all)"),
        Printed { rows: 1, .. } => "1 row".to_owned(),
        Printed { rows, .. } => format!("{rows} rows"),
    };
    if printed.cut {
        rows + ", cells cut (\\x prints them in full)"
    } else {
        rows
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// The list of meta commands, for `\?`.
fn help() -> String {
    let lines = COMMANDS.map(|(usage, text)| format!("{usage:18} {text}"));
    format!(
        "Statements end with `;` and may have several lines. Ctrl-C clears the line or cancels a query.\n{}",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::{Printed, help, summary};

    #[test]
    fn summary_reports_what_is_not_shown() {
        let printed = |rows, more, cut| summary(Printed { rows, more, cut });
        assert_eq!(printed(0, false, false), "0 rows");
        assert_eq!(printed(1, false, false), "1 row");
        assert_eq!(
            printed(40, true, true),
            "first 40 rows (\\rows 0 prints all), cells cut (\\x prints them in full)"
        );
    }

    #[test]
    fn help_lists_every_command() {
        assert_eq!(help().lines().count(), super::COMMANDS.len() + 1);
    }
}
