//! Training methods (SFT, DPO, DDPO, ORPO, DORPO, reward model), and the data that each needs.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A training method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Supervised fine-tuning on the chosen responses
    Sft,
    /// Direct preference optimization
    Dpo,
    /// DPO, each pair's loss times its weight
    Ddpo,
    /// Odds ratio preference optimization
    Orpo,
    /// ORPO, each pair's loss times its weight
    Dorpo,
    /// A reward model, on scores or on pairs
    Reward,
}

impl Method {
    /// The name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sft => "sft",
            Self::Dpo => "dpo",
            Self::Ddpo => "ddpo",
            Self::Orpo => "orpo",
            Self::Dorpo => "dorpo",
            Self::Reward => "reward",
        }
    }

    /// Whether the method needs a reference model.
    pub const fn has_reference(self) -> bool {
        matches!(self, Self::Dpo | Self::Ddpo)
    }

    /// Whether the method needs weights of pairs.
    pub const fn is_weighted(self) -> bool {
        matches!(self, Self::Ddpo | Self::Dorpo)
    }

    /// Whether the method always needs pairs of responses; a reward model needs them for the Bradley-Terry
    /// loss only.
    pub const fn has_pairs(self) -> bool {
        matches!(self, Self::Dpo | Self::Ddpo | Self::Orpo | Self::Dorpo)
    }
}
