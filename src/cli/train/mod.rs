//! `polyphony train`: flags and TOML file to a configuration, then one run.

mod measure_samples;

use std::path::PathBuf;

use clap::Args;
use polyphony_io::{Error, Result};
use polyphony_trainer::config::{Config, ConfigFile, Settings};
use polyphony_trainer::method::Method;
use polyphony_trainer::run;
use polyphony_trainer::watch::SampledPrompt;

use self::measure_samples::Instruments;
use super::terminal::{self, Bars};

#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Arguments {
    /// Training method
    #[arg(value_enum)]
    method: Method,
    /// TOML file with any of the options below, with underscores; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Arguments {
    /// The complete configuration.
    pub(super) fn config(&self) -> Result<Config> {
        let file = match &self.config {
            Some(path) => Some((path, Settings::read(path)?)),
            None => None,
        };
        let file = file
            .as_ref()
            .map(|(path, settings)| ConfigFile { path, settings });
        self.settings.resolve(file, self.method)
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.config()?;
    let ctrl_c = terminal::stop_on_ctrl_c("stopping after this step");
    let stop = ctrl_c.flag();
    let out = config.out.display().to_string();
    let train = move || {
        let instruments = config
            .watch
            .map(|_| Instruments::load(&config))
            .transpose()?;
        let measure = |prompts: &[SampledPrompt]| match &instruments {
            Some(instruments) => instruments.measure(prompts),
            None => Err(Error::Internal("no measures are loaded".to_owned())),
        };
        run::run(&config, Some(&measure), &stop, &Bars::default())
    };
    let summary = tokio::task::spawn_blocking(train).await??;
    let losses: Vec<f64> = summary.losses.iter().map(|(_, loss)| *loss).collect();
    if let [first, .., last] = losses.as_slice() {
        let line = terminal::sparkline(&losses);
        terminal::print_message(&format!("loss {first:.4} {line} {last:.4}"));
    }
    if summary.stopped {
        let progress = match summary.total_steps {
            0 => "before the first step".to_owned(),
            total => format!("after step {} of {total}", summary.steps),
        };
        let message = format!("stopped {progress}; run the same command to resume");
        return Err(Error::Cancelled(message).into());
    }
    if let Some(weights) = &summary.skipped {
        terminal::print_message(&format!("{}: skipped", weights.zero_share()));
    }
    let loss = losses
        .last()
        .map_or_else(String::new, |loss| format!(", loss {loss:.4}"));
    terminal::result(&format!("{} steps{loss}; adapter in {out}", summary.steps));
    Ok(())
}
