//! `polyphony train`: which method learns from which pairs, by which numbers?

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use polyphony_trainer::config::Settings;
use polyphony_trainer::objective::Method;
use polyphony_trainer::run;

use super::terminal::{self, Bars};

#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Arguments {
    /// What is trained for
    #[arg(value_enum)]
    method: Name,
    /// A TOML file with any of the fields below, with underscores; flags go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// The methods, as they are typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// Likelihood of the chosen answers
    Sft,
    /// Direct preference optimisation
    Dpo,
    /// DPO, each pair's loss times its weight
    Ddpo,
    /// Odds-ratio preference optimisation
    Orpo,
    /// ORPO with weights
    Dorpo,
    /// A reward model, from votes
    Reward,
}

impl From<Name> for Method {
    fn from(name: Name) -> Self {
        match name {
            Name::Sft => Self::Sft,
            Name::Dpo => Self::Dpo,
            Name::Ddpo => Self::Ddpo,
            Name::Orpo => Self::Orpo,
            Name::Dorpo => Self::Dorpo,
            Name::Reward => Self::Reward,
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let file = arguments
        .config
        .as_deref()
        .map(Settings::read)
        .transpose()?;
    let config = arguments
        .settings
        .resolve(file.as_ref(), arguments.method.into())?;
    let stop = terminal::stop_on_ctrl_c("stops in a moment");
    let out = config.out.display().to_string();
    let summary =
        tokio::task::spawn_blocking(move || run::run(&config, &stop, &Bars::default())).await??;
    let loss = summary
        .loss
        .map_or_else(String::new, |loss| format!(", loss {loss:.4}"));
    let losses: Vec<f64> = summary.losses.iter().map(|(_, loss)| *loss).collect();
    if let [first, .., last] = losses.as_slice() {
        let line = terminal::spark(&losses);
        terminal::talk(&format!("loss {first:.4} {line} {last:.4}"));
    }
    terminal::result(&if summary.stopped && summary.of == 0 {
        "stopped while it prepared; the same command goes on from there".to_owned()
    } else if summary.stopped {
        format!(
            "stopped after step {} of {}{loss}; the same command goes on from there",
            summary.steps, summary.of
        )
    } else {
        format!("{} steps{loss}; the adapter is in {out}", summary.steps)
    });
    Ok(())
}
