//! Options of `pairs`: the strategy, its thresholds, the deviation spaces, and their SQL parameters.

use std::path::PathBuf;

use datafusion::scalar::ScalarValue;

use crate::embed::Embedder;
use crate::{Error, Result, sql};

/// How pairs are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Random pairs whose votes differ by a gap, each response once: the paper's.
    #[default]
    Gap,
    /// A ratio of votes, the winner posted later: SHP's and LitBench's.
    Ratio,
    /// Every pair, up to a maximum.
    All,
    /// `DivPO`: the most deviant of the best responses over the least deviant of the worst.
    DivPo,
}

impl Strategy {
    const NAMES: [(&'static str, Self); 4] = [
        ("gap", Self::Gap),
        ("ratio", Self::Ratio),
        ("all", Self::All),
        ("divpo", Self::DivPo),
    ];

    /// The strategy of a name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, strategy)| *strategy)
            .ok_or_else(|| Error::Unknown {
                what: "strategy",
                given: name.to_owned(),
                known: Self::NAMES.map(|(name, _)| name).join(", "),
            })
    }

    /// The SQL file that finds the pairs.
    pub(super) fn script(self) -> &'static str {
        match self {
            Self::Gap => "20_pairs_gap.sql",
            Self::Ratio => "20_pairs_ratio.sql",
            Self::All => "20_pairs_all.sql",
            Self::DivPo => "20_pairs_divpo.sql",
        }
    }
}

/// The options of a run. [`Options::default`] is the paper's setup without a deviation space.
#[derive(Debug, Clone)]
pub struct Options {
    /// How pairs are found.
    pub strategy: Strategy,
    /// gap: the minimum difference of votes.
    pub gap: i64,
    /// ratio: the minimum ratio of votes, at least 1.
    pub ratio: f64,
    /// ratio: the chosen response may be older than the rejected one.
    pub ignore_time_order: bool,
    /// ratio: as many chosen responses are longer than the rejected ones as shorter.
    pub balance_length: bool,
    /// divpo: the share of best and of worst responses, in (0, 0.5].
    pub rho: f64,
    /// The maximum number of pairs of a prompt; by default 100, for divpo 2.
    pub max_pairs: Option<u32>,
    /// The minimum votes of a response; by default 10 for ratio, else none.
    pub min_votes: Option<i64>,
    /// The minimum words of a response; by default 50 for ratio, else 1.
    pub min_words: Option<u32>,
    /// The maximum words of a response, where no tokenizer counts tokens.
    pub max_words: u32,
    /// The tokenizer that counts the tokens of prompt and response: a file, a folder or a hub id.
    pub tokenizer: Option<String>,
    /// The maximum tokens of prompt and response, with a tokenizer.
    pub max_tokens: u32,
    /// The maximum number of responses of a prompt; by default all.
    pub max_responses: Option<u32>,
    /// With `max_responses`: the best by votes are kept, not random ones.
    pub best_first: bool,
    /// The spaces in which deviation is measured, each with its embedder.
    pub spaces: Vec<(&'static str, Embedder)>,
    /// The minimum weight of a chosen response.
    pub min_weight: f64,
    /// The random seed.
    pub seed: i64,
    /// The SQL files of the pipeline.
    pub pipeline: sql::SqlPipeline,
    /// The file of the pairs; by default `pairs.parquet` in the store's folder.
    pub out: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            gap: 5,
            ratio: 1.25,
            ignore_time_order: false,
            balance_length: false,
            rho: 0.25,
            max_pairs: None,
            min_votes: None,
            min_words: None,
            max_words: 1500,
            tokenizer: None,
            max_tokens: 2048,
            max_responses: None,
            best_first: false,
            spaces: Vec::new(),
            min_weight: 0.0,
            seed: 42,
            pipeline: sql::SqlPipeline::default(),
            out: None,
        }
    }
}

impl Options {
    /// Refuses options that contradict each other.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(out) = &self.out
            && out.extension().is_none_or(|end| end != "parquet")
        {
            return Err(Error::config(
                "--out",
                format!("must end in .parquet (got {})", out.display()),
                "the card goes beside it, as .md and .json",
            ));
        }
        if self.strategy == Strategy::DivPo && self.spaces.is_empty() {
            return Err(Error::config(
                "--strategy",
                "divpo needs a deviation to choose by (got --deviation none)",
                "use --deviation both, semantic or style",
            ));
        }
        Ok(())
    }

    /// The values of the SQL files' placeholders. An absent `$min_votes` is NULL, which excludes nothing.
    pub(super) fn sql_values(&self) -> sql::Options {
        let is_ratio = self.strategy == Strategy::Ratio;
        let integer = |number: u32| ScalarValue::from(i64::from(number));
        let max_pairs = self.max_pairs.unwrap_or(match self.strategy {
            Strategy::DivPo => 2,
            _ => 100,
        });
        let max_length = match self.tokenizer {
            Some(_) => self.max_tokens,
            None => self.max_words,
        };
        let min_votes = self.min_votes.or(is_ratio.then_some(10));
        let min_words = self.min_words.unwrap_or(if is_ratio { 50 } else { 1 });
        let values = [
            ("gap", ScalarValue::from(self.gap)),
            ("ratio", ScalarValue::from(self.ratio)),
            (
                "ignore_time_order",
                ScalarValue::from(self.ignore_time_order),
            ),
            ("balance_length", ScalarValue::from(self.balance_length)),
            ("rho", ScalarValue::from(self.rho)),
            ("max_pairs", integer(max_pairs)),
            ("min_votes", ScalarValue::Int64(min_votes)),
            ("min_words", integer(min_words)),
            ("max_length", integer(max_length)),
            ("max_responses", integer(self.max_responses.unwrap_or(0))),
            ("best_first", ScalarValue::from(self.best_first)),
            ("min_weight", ScalarValue::from(self.min_weight)),
            ("seed", ScalarValue::from(self.seed)),
            (
                "tokenizer",
                ScalarValue::from(self.tokenizer.as_deref().unwrap_or_default()),
            ),
        ];
        sql::Options::from(values.map(|(name, value)| (name.to_owned(), value)))
    }
}
