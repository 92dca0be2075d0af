//! What does the user see? Results on stdout, talk and progress on stderr.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use polyphony_io::progress::{Progress, Unit};

/// Prints a result.
pub(crate) fn result(text: &str) {
    // A reader that closed the pipe has what it wanted.
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Says something on stderr. Names come from files: what would steer the terminal is left out.
pub(crate) fn talk(text: &str) {
    let plain: String = text
        .chars()
        .filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t'))
        .collect();
    drop(writeln!(std::io::stderr(), "{plain}"));
}

/// Shows an error with its causes, on one line.
pub(crate) fn error(error: &anyhow::Error) {
    talk(&format!("error: {error:#}"));
}

/// Shows help where it was asked for (exit code 0), a wrong command line on one line (1).
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        drop(error.print());
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let said = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<&str> = said
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    talk(&format!("{}: `--help` shows what there is", said.join(" ")));
    ExitCode::from(1)
}

/// Set when the user interrupts, which says `what` happens; interrupted again, the program ends.
pub(crate) fn stop_on_ctrl_c(what: &'static str) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            talk(&format!("{what}; again: at once"));
            asked.store(true, Ordering::Relaxed);
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    stop
}

/// A curve in a line of at most forty characters: each the mean of a stretch.
pub(crate) fn spark(values: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let stretch = values.len().div_ceil(40).max(1);
    let means = values
        .chunks(stretch)
        .map(|part| part.iter().sum::<f64>() / part.len() as f64);
    let means: Vec<f64> = means.collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let level =
        |mean: &f64| LEVELS[((mean - low) / (high - low).max(1e-12) * 7.0).round() as usize];
    means.iter().map(level).collect()
}

/// Shows progress: a bar with rate and time left where stderr is a terminal, lines otherwise.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    fn with_bar(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        act(&mut self.bar.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Bars {
    fn start(&self, what: &str, total: Option<u64>, unit: Unit) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let template = match (unit, total) {
            (Unit::Bytes, _) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
            (Unit::Rows, Some(_)) => {
                "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {prefix}{eta} left"
            }
            (Unit::Rows, None) => "{spinner} {msg} {human_pos} rows {per_sec} {elapsed}",
        };
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.with_bar(|slot| *slot = Some(bar));
    }

    fn set_position(&self, position: u64) {
        self.with_bar(|bar| {
            if let Some(bar) = bar {
                bar.set_position(position);
            }
        });
    }

    fn set_rate(&self, set_rate: &str) {
        self.with_bar(|bar| {
            if let Some(bar) = bar {
                bar.set_prefix(format!("{set_rate} "));
            }
        });
    }

    fn finish(&self) {
        self.with_bar(|bar| {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        });
    }

    fn message(&self, line: &str) {
        self.with_bar(|bar| match bar {
            Some(bar) => bar.suspend(|| talk(line)),
            None => talk(line),
        });
    }
}
