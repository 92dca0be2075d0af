//! Log: `tracing` events and the durations of spans, on stderr.

use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// A log filter: the minimum level of each module.
pub(crate) type Filter = Targets;

/// Parses a log filter. A single level applies to this project's crates, and libraries log at most warnings;
/// a list of `MODULE=LEVEL` is used as it is.
pub(crate) fn parse_filter(text: &str) -> Result<Filter, String> {
    if let Ok(level) = LevelFilter::from_str(text) {
        return Ok(Targets::new()
            .with_target("polyphony", level)
            .with_default(level.min(LevelFilter::WARN)));
    }
    // tracing would log a module that is named without a level in full: a mistyped level is more likely.
    if text.split(',').any(|part| !part.contains('=')) {
        return Err("give off, error, warn, info, debug, trace, or MODULE=LEVEL,...".to_owned());
    }
    Targets::from_str(text).map_err(|error| error.to_string())
}

/// Starts the log: one line an event, one line at the end of a span with the time it took.
pub(crate) fn init(filter: Filter) {
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_timer(fmt::time::uptime())
        .with_span_events(FmtSpan::CLOSE);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::parse_filter;

    #[test]
    fn a_level_applies_to_our_crates_and_libraries_only_warn() {
        let filter = parse_filter("debug").unwrap();
        assert!(filter.would_enable("polyphony_engine::sql", &Level::DEBUG));
        assert!(!filter.would_enable("datafusion", &Level::INFO));
        assert!(filter.would_enable("datafusion", &Level::WARN));
        let filter = parse_filter("error").unwrap();
        assert!(!filter.would_enable("datafusion", &Level::WARN));
        let filter = parse_filter("off").unwrap();
        assert!(!filter.would_enable("polyphony_engine", &Level::ERROR));
    }

    #[test]
    fn modules_have_levels_of_their_own() {
        let filter = parse_filter("datafusion=debug,polyphony=info").unwrap();
        assert!(filter.would_enable("datafusion::optimizer", &Level::DEBUG));
        assert!(!filter.would_enable("polyphony_trainer", &Level::DEBUG));
        assert!(parse_filter("polyphony=loud").is_err());
        assert!(parse_filter("loud").is_err());
    }
}
