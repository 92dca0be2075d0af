//! Configuration of a run: flags over a TOML file over the method's defaults.

/// The macro that defines every hyperparameter once.
#[macro_use]
mod define;

mod bound;

/// The hyperparameters: names, types, defaults by method, bounds.
#[expect(clippy::doc_markdown, reason = "the help texts of flags")]
mod settings;

/// Flags, file, adapter and defaults merged into one configuration.
mod resolve;

/// Parts of a configuration: LoRA, objective, optimizer, batch size.
mod parts;

pub use resolve::ConfigFile;
pub use settings::{Config, Settings};
