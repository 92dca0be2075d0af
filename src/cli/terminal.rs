//! Terminal output: results on stdout; messages, errors and progress bars on stderr.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::error::ErrorKind;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use polyphony_io::progress::{Progress, Unit};

/// Prints a result on stdout.
pub(crate) fn result(text: &str) {
    // A reader such as `head` closes the pipe once it has enough: not an error.
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Prints a message on stderr without control characters: file names may contain escape sequences.
pub(crate) fn print_message(text: &str) {
    let plain: String = text
        .chars()
        .filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t'))
        .collect();
    drop(writeln!(std::io::stderr(), "{plain}"));
}

/// Prints an error with its causes on stderr, on one line.
pub(crate) fn error(error: &anyhow::Error) {
    print_message(&format!("error: {error:#}"));
}

/// Prints clap's result and returns the exit code: help and version that were requested (0), help on stderr for a
/// command without its arguments (1), the error of an invalid command line on one line (1).
pub(crate) fn clap_error(error: &clap::Error) -> ExitCode {
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_help || !error.use_stderr() {
        drop(error.print());
        return ExitCode::from(u8::from(is_help));
    }
    print_message(&one_line(&error.to_string()));
    ExitCode::from(1)
}

/// clap's text on one line: the error, its list of arguments, its tips, the usage.
pub(crate) fn one_line(text: &str) -> String {
    let (message, rest) = text.split_once("Usage:").unwrap_or((text, ""));
    let mut line = String::new();
    for part in message
        .lines()
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        if part.starts_with("For more information") {
            continue;
        }
        if part.starts_with("tip:") || part.starts_with('[') {
            let _ = write!(line, " ({})", part.trim_matches(['[', ']']));
        } else if line.is_empty() {
            line.push_str(part);
        } else {
            line.push_str(if line.ends_with(':') { " " } else { ", " });
            line.push_str(part);
        }
    }
    if let Some(usage) = rest.lines().next() {
        let _ = write!(line, "; usage: {}", usage.trim());
    }
    line + "; `--help` lists the options"
}

/// A flag that Ctrl-C or SIGTERM sets while this lives, with the message `what`; a second one ends the program with
/// exit code 130.
pub(crate) fn stop_on_ctrl_c(what: &'static str) -> CtrlC {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let task = tokio::spawn(async move {
        if signal().await.is_ok() {
            print_message(&format!("{what}; Ctrl-C again ends at once"));
            flag.store(true, Ordering::Relaxed);
        }
        if signal().await.is_ok() {
            std::process::exit(130);
        }
    });
    CtrlC { stop, task }
}

/// Ends the program with exit code 130 at Ctrl-C or SIGTERM, while the returned value lives. The system's own handler is
/// gone once a command has listened for Ctrl-C.
pub(crate) fn exit_on_ctrl_c() -> CtrlC {
    let task = tokio::spawn(async move {
        if signal().await.is_ok() {
            std::process::exit(130);
        }
    });
    let stop = Arc::default();
    CtrlC { stop, task }
}

/// A listener for Ctrl-C, which ends with this value.
#[derive(Debug)]
pub(crate) struct CtrlC {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl CtrlC {
    /// The flag that Ctrl-C sets.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }
}

impl Drop for CtrlC {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for Ctrl-C or for SIGTERM, which schedulers of clusters send before they kill.
async fn signal() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// A sparkline: values over time as at most forty block characters, each the mean of consecutive values.
pub(crate) fn sparkline(values: &[f64]) -> String {
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

/// The time between two drawings of a bar.
const TICK: Duration = Duration::from_millis(200);

/// Progress bars with rate and remaining time, where stderr is a terminal.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    fn with_bar(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        act(&mut self.bar.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Rate and remaining time of a bar; empty before the first step, when both are unknown.
fn speed(unit: Unit, state: &ProgressState) -> String {
    let left = state.len().map(|_| state.eta());
    speed_text(unit, state.per_sec(), left, state.elapsed())
}

/// Units a second with one decimal below ten, seconds a unit where one takes more than ten seconds; then the
/// remaining time, or the time so far where the total is unknown.
fn speed_text(unit: Unit, rate: f64, left: Option<Duration>, elapsed: Duration) -> String {
    if !(rate.is_finite() && rate > 0.0) {
        return String::new();
    }
    let (one, many) = match unit {
        Unit::Bytes => ("", ""),
        Unit::Rows => ("row", "rows"),
        Unit::Steps => ("step", "steps"),
    };
    let rate = match unit {
        Unit::Bytes => format!("{}/s", HumanBytes(rate as u64)),
        _ if rate < 0.1 => format!("{:.1} s/{one}", 1.0 / rate),
        _ if rate < 10.0 => format!("{rate:.1} {many}/s"),
        _ => format!("{} {many}/s", HumanCount(rate as u64)),
    };
    match left {
        Some(left) => format!("{rate}, {} left", HumanDuration(left)),
        None => format!("{rate}, {} s", elapsed.as_secs()),
    }
}

impl Progress for Bars {
    fn start(&self, what: &str, total: Option<u64>, unit: Unit) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let template = match (unit, total) {
            (Unit::Bytes, _) => "{msg} {wide_bar} {bytes}/{total_bytes} {prefix}{speed}",
            (Unit::Rows, Some(_)) => "{msg} {wide_bar} {human_pos}/{human_len} {prefix}{speed}",
            (Unit::Rows, None) => "{spinner} {msg} {human_pos} rows {speed}",
            (Unit::Steps, Some(_)) => {
                "{msg} {wide_bar} {human_pos}/{human_len} steps, {prefix}{speed}"
            }
            (Unit::Steps, None) => "{spinner} {msg} {human_pos} steps {speed}",
        };
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key(
                "speed",
                move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = out.write_str(&speed(unit, state));
                },
            );
        bar.set_style(style);
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        self.with_bar(|slot| *slot = Some(bar));
    }

    fn resume(&self, position: u64) {
        self.with_bar(|bar| {
            if let Some(bar) = bar {
                // Without the ticker the position is recorded at once, so that the reset starts from it.
                bar.disable_steady_tick();
                bar.set_position(position);
                bar.reset_eta();
                bar.enable_steady_tick(TICK);
            }
        });
    }

    fn set_position(&self, position: u64) {
        self.with_bar(|bar| {
            if let Some(bar) = bar {
                bar.set_position(position);
            }
        });
    }

    fn set_rate(&self, rate: &str) {
        self.with_bar(|bar| {
            if let Some(bar) = bar {
                bar.set_prefix(format!("{rate}, "));
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
            Some(bar) => bar.suspend(|| print_message(line)),
            None => print_message(line),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use indicatif::{ProgressBar, ProgressDrawTarget};
    use polyphony_io::progress::{Progress as _, Unit};

    use super::{Bars, one_line, speed_text};

    #[test]
    fn rates_have_a_unit_and_one_decimal() {
        let seconds = Duration::from_secs;
        let text =
            |unit, rate, left: Option<u64>| speed_text(unit, rate, left.map(seconds), seconds(7));
        for (actual, expected) in [
            // At the start neither the rate nor the remaining time is known.
            (text(Unit::Steps, 0.0, Some(0)), ""),
            (text(Unit::Rows, f64::NAN, Some(0)), ""),
            (
                text(Unit::Steps, 2.345, Some(65)),
                "2.3 steps/s, 65 seconds left",
            ),
            (
                text(Unit::Steps, 0.04, Some(3600)),
                "25.0 s/step, 60 minutes left",
            ),
            (
                text(Unit::Rows, 2930.81, Some(10)),
                "2,930 rows/s, 10 seconds left",
            ),
            (text(Unit::Rows, 9.9, None), "9.9 rows/s, 7 s"),
            (
                text(Unit::Bytes, 3_145_728.0, Some(1)),
                "3.00 MiB/s, 1 second left",
            ),
        ] {
            assert_eq!(actual, expected);
        }
    }

    #[test]
    fn work_before_a_resume_does_not_count_for_the_rate() {
        let bar = ProgressBar::with_draw_target(Some(2000), ProgressDrawTarget::hidden());
        let bars = Bars::default();
        bars.with_bar(|slot| *slot = Some(bar.clone()));
        bars.resume(1000);
        std::thread::sleep(Duration::from_millis(50));
        bar.disable_steady_tick();
        bar.set_position(1001);
        let rate = bar.per_sec();
        assert!(rate > 0.0 && rate < 40.0, "{rate}");
        assert_eq!(bar.position(), 1001);
    }

    #[test]
    fn tips_and_usage_follow_the_error_on_its_line() {
        let text = "error: unexpected argument '--formt' found\n\n  tip: a similar argument exists: \
                    '--format'\n\nUsage: polyphony sql --format <FORMAT>\n\nFor more information, try \
                    '--help'.\n";
        assert_eq!(
            one_line(text),
            "error: unexpected argument '--formt' found (tip: a similar argument exists: '--format'); \
             usage: polyphony sql --format <FORMAT>; `--help` lists the options"
        );
    }

    #[test]
    fn missing_arguments_are_a_list() {
        let text = "error: the following required arguments were not provided:\n  --model <MODEL>\n  \
                    --out <FILE>\n\nUsage: polyphony embed --model <MODEL> --out <FILE> [FILE]\n";
        assert_eq!(
            one_line(text),
            "error: the following required arguments were not provided: --model <MODEL>, --out \
             <FILE>; usage: polyphony embed --model <MODEL> --out <FILE> [FILE]; `--help` lists the \
             options"
        );
    }

    #[test]
    fn possible_values_are_in_brackets() {
        let text = "error: invalid value 'x' for '--format <FORMAT>'\n  [possible values: table, csv]\n\n\
                    For more information, try '--help'.\n";
        assert_eq!(
            one_line(text),
            "error: invalid value 'x' for '--format <FORMAT>' (possible values: table, csv); `--help` \
             lists the options"
        );
    }
}
