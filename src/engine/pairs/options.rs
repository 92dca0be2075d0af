//! Options of `pairs`: strategy, thresholds, deviation spaces, and the SQL parameters made from them.

use std::path::PathBuf;

use datafusion::scalar::ScalarValue;

use crate::embed::Embedder;
use crate::expression::Expression;
use crate::{Error, Result, sql};

/// The pairing strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Random pairs whose votes differ by at least a gap, each response at most once (Chung et al.
    /// 2025).
    #[default]
    Gap,
    /// Pairs with a minimum ratio of votes, the winner posted later (SHP, LitBench).
    Ratio,
    /// All pairs, up to a maximum per prompt.
    All,
    /// `DivPO`: the most deviant of the best responses over the least deviant of the worst (Lanchantin et
    /// al. 2025).
    DivPo,
    /// `ReDiPO`: of two responses of similar votes the more diverse one (Samuel et al. 2026).
    Marginal,
}

impl Strategy {
    const NAMES: [(&'static str, Self); 5] = [
        ("gap", Self::Gap),
        ("ratio", Self::Ratio),
        ("all", Self::All),
        ("divpo", Self::DivPo),
        ("marginal", Self::Marginal),
    ];

    /// The strategy by name.
    ///
    /// # Errors
    /// When the name is unknown.
    pub fn named(name: &str) -> Result<Self> {
        let strategy = Self::NAMES.iter().find(|(candidate, _)| *candidate == name);
        strategy
            .map(|(_, strategy)| *strategy)
            .ok_or_else(|| Error::Unknown {
                what: "strategy",
                given: name.to_owned(),
                known: Self::NAMES.map(|(name, _)| name).join(", "),
            })
    }

    /// The SQL file that makes the pairs.
    pub(super) fn script(self) -> &'static str {
        match self {
            Self::Gap => "20_pairs_gap.sql",
            Self::Ratio => "20_pairs_ratio.sql",
            Self::All => "20_pairs_all.sql",
            Self::DivPo => "20_pairs_divpo.sql",
            Self::Marginal => "20_pairs_marginal.sql",
        }
    }

    /// Whether pairs are selected by the vectors of responses.
    pub(super) fn needs_vectors(self) -> bool {
        matches!(self, Self::DivPo | Self::Marginal)
    }
}

/// The selection of a prompt's candidates when there are more than `max_responses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Select {
    /// A random sample by the seed.
    #[default]
    Random,
    /// Those with the most votes.
    Best,
    /// Those that greedy MAP inference of a determinantal point process selects (Chen et al. 2018): the
    /// most diverse ones.
    Dpp,
}

/// divpo: the responses from which the pools of the best and of the worst are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DivPoPool {
    /// The responses that the strategy `gap` puts in pairs, as in the paper's code: both methods then
    /// learn from the same responses.
    #[default]
    Pairs,
    /// All candidates.
    All,
}

impl DivPoPool {
    /// The SQL file that makes the table `scored_responses`.
    pub(super) fn script(self) -> &'static str {
        match self {
            Self::Pairs => "30_scored_responses_in_gap_pairs.sql",
            Self::All => "30_scored_responses_all.sql",
        }
    }
}

/// The options of a run. [`Options::default`] has the paper's values, without a deviation space.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct Options {
    /// The pairing strategy.
    pub strategy: Strategy,
    /// gap: the minimum difference of votes.
    pub gap: f64,
    /// ratio: the minimum ratio of votes, at least 1.
    pub ratio: f64,
    /// ratio: ignore the time order, so that the chosen response may be the older one.
    pub ignore_time_order: bool,
    /// ratio: balance lengths, so that the chosen response is longer in as many pairs as it is shorter.
    pub balance_length: bool,
    /// divpo: the fraction of best and of worst responses, in (0, 0.5]; a pool holds at least `max_pairs`
    /// responses, where there are as many.
    pub rho: f64,
    /// divpo: the responses from which the pools are taken.
    pub pool: DivPoPool,
    /// The maximum number of pairs per prompt; by default 100 for all and ratio, 2 for divpo, unlimited
    /// for gap.
    pub max_pairs: Option<u32>,
    /// With `max_pairs`, gap and all: keep the pairs whose chosen responses have the most votes instead of
    /// random ones.
    pub best_winners: bool,
    /// marginal: the maximum difference of votes of a pair, 0 or more.
    pub epsilon: f64,
    /// marginal: the maximum number of pairs of a response, at least 1.
    pub n_cap: u32,
    /// marginal: the fraction of a prompt's pairs that remains, in (0, 1].
    pub top_quantile: f64,
    /// The minimum votes of a response; by default 10 for ratio, otherwise unlimited.
    pub min_votes: Option<f64>,
    /// The minimum number of words of a response; by default 50 for ratio, otherwise 1.
    pub min_words: Option<u32>,
    /// The maximum number of words of a response, used only without a tokenizer.
    pub max_words: u32,
    /// The tokenizer that counts the tokens of prompt and response: a file, a folder or a hub id.
    pub tokenizer: Option<String>,
    /// The maximum number of tokens of prompt plus response, used only with a tokenizer.
    pub max_tokens: u32,
    /// The minimum number of candidates of a prompt; the candidates of other prompts are excluded.
    pub min_responses: u32,
    /// The maximum number of responses per prompt; by default unlimited.
    pub max_responses: Option<u32>,
    /// With `max_responses`: which responses are selected.
    pub select: Select,
    /// The deviation spaces, each with its embedder.
    pub spaces: Vec<(&'static str, Embedder)>,
    /// The condition on a response and its prompt; the others are excluded with the reason `where`.
    pub filter: Option<Expression>,
    /// The weight as an expression over a response's columns; by default the paper's formula.
    pub weight: Option<Expression>,
    /// Whether the values of `weight` are the weights, not divided by their mean over the prompt.
    pub raw_weights: bool,
    /// The minimum weight of a chosen response.
    pub min_weight: f64,
    /// Whether weights are divided so that the mean weight of the chosen responses of the training split
    /// is 1.
    pub center_winners: bool,
    /// The random seed.
    pub seed: i64,
    /// The SQL files of the pipeline.
    pub pipeline: sql::SqlPipeline,
    /// The output path of the pairs; by default `pairs.parquet` in the store's folder.
    pub out: Option<PathBuf>,
    /// The output path of the SFT examples, which are all candidates; by default none are written.
    pub sft: Option<PathBuf>,
    /// A file of evaluation prompts, which are kept out of pairs with their near-duplicates.
    pub eval_prompts: Option<PathBuf>,
    /// A folder that gets the pairs with one file a split, for `load_dataset`.
    pub dataset: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            gap: 5.0,
            ratio: 1.25,
            ignore_time_order: false,
            balance_length: false,
            rho: 0.25,
            pool: DivPoPool::default(),
            max_pairs: None,
            best_winners: false,
            epsilon: 5.0,
            n_cap: 4,
            top_quantile: 0.25,
            min_votes: None,
            min_words: None,
            max_words: 1500,
            tokenizer: None,
            max_tokens: 2048,
            min_responses: 1,
            max_responses: None,
            select: Select::default(),
            spaces: Vec::new(),
            filter: None,
            weight: None,
            raw_weights: false,
            min_weight: 0.0,
            center_winners: false,
            seed: 42,
            pipeline: sql::SqlPipeline::default(),
            out: None,
            sft: None,
            eval_prompts: None,
            dataset: None,
        }
    }
}

impl Options {
    /// The SQL file that computes the weights.
    pub(crate) fn weights_script(&self) -> &'static str {
        match self.weight {
            Some(_) => "50_weights_expression.sql",
            None => "50_weights.sql",
        }
    }

    /// The expressions with the placeholders that they replace.
    pub(super) fn expressions(&self) -> impl Iterator<Item = (&'static str, &Expression)> {
        let weight = self.weight.iter().map(|weight| ("$weight", weight));
        let filter = self.filter.iter().map(|filter| ("$where", filter));
        weight.chain(filter)
    }

    /// Fails for options of weights that contradict each other.
    pub(crate) fn check_weights(&self) -> Result<()> {
        if let Some(weight) = &self.weight
            && self.pipeline.overrides("50_weights.sql")
        {
            return Err(Error::config(
                weight.option(),
                format!("`{}` would never be computed", weight.text()),
                "the folder of --sql has its own 50_weights.sql: leave out one of both",
            ));
        }
        Ok(())
    }

    /// Fails for options that contradict each other.
    pub(super) fn check(&self) -> Result<()> {
        self.check_weights()?;
        if let Some(out) = &self.out
            && out.extension().is_none_or(|end| end != "parquet")
        {
            return Err(Error::config(
                "--out",
                format!("must end in .parquet (got {})", out.display()),
                "the card goes beside it, as .md and .json",
            ));
        }
        if let Some(sft) = &self.sft
            && (sft.extension().is_none_or(|end| end != "parquet")
                || self.out.as_ref() == Some(sft))
        {
            return Err(Error::config(
                "--sft",
                format!(
                    "must end in .parquet and differ from --out (got {})",
                    sft.display()
                ),
                "name a file of its own, as sft.parquet",
            ));
        }
        if self.selects_by_dpp() && self.spaces.is_empty() {
            return Err(Error::config(
                "--select",
                "dpp needs an embedding space (got --deviation none)",
                "use --deviation both, semantic or style",
            ));
        }
        if self.strategy.needs_vectors() && self.spaces.is_empty() {
            return Err(Error::config(
                "--strategy",
                "divpo and marginal need an embedding space to choose by (got --deviation none)",
                "use --deviation both, semantic or style",
            ));
        }
        if self.best_winners && !matches!(self.strategy, Strategy::Gap | Strategy::All) {
            return Err(Error::config(
                "--best-winners",
                "ratio draws pairs at random, and divpo takes the most deviant",
                "use it with --strategy gap or all, and --max-pairs",
            ));
        }
        Ok(())
    }

    /// Whether candidates are selected by a determinantal point process.
    pub(super) fn selects_by_dpp(&self) -> bool {
        self.select == Select::Dpp && self.max_responses.is_some()
    }

    /// The values of the SQL placeholders. An absent `$min_votes` is NULL, which excludes nothing.
    pub(super) fn sql_values(&self) -> sql::Options {
        let is_ratio = self.strategy == Strategy::Ratio;
        let integer = |number: u32| ScalarValue::from(i64::from(number));
        let max_pairs = self.max_pairs.unwrap_or(match self.strategy {
            Strategy::DivPo => 2,
            // Unlimited: 0 in SQL. Marginal pairs are limited by --top-quantile.
            Strategy::Gap | Strategy::Marginal => 0,
            Strategy::All | Strategy::Ratio => 100,
        });
        let max_length = match self.tokenizer {
            Some(_) => self.max_tokens,
            None => self.max_words,
        };
        let min_votes = self.min_votes.or(is_ratio.then_some(10.0));
        let min_words = self.min_words.unwrap_or(if is_ratio { 50 } else { 1 });
        // The text of an expression identifies the step; the expression itself is put into the statement.
        let text = |expression: &Option<Expression>| {
            let text = expression.as_ref().map(Expression::text);
            text.map(ScalarValue::from)
        };
        let values = [
            (
                "where",
                text(&self.filter).unwrap_or_else(|| ScalarValue::from(true)),
            ),
            (
                "weight",
                text(&self.weight).unwrap_or_else(|| ScalarValue::from(1.0)),
            ),
            ("raw_weights", ScalarValue::from(self.raw_weights)),
            ("winner_mean", ScalarValue::from(1.0)),
            ("gap", ScalarValue::from(self.gap)),
            ("ratio", ScalarValue::from(self.ratio)),
            (
                "ignore_time_order",
                ScalarValue::from(self.ignore_time_order),
            ),
            ("balance_length", ScalarValue::from(self.balance_length)),
            ("rho", ScalarValue::from(self.rho)),
            ("max_pairs", integer(max_pairs)),
            ("best_winners", ScalarValue::from(self.best_winners)),
            ("epsilon", ScalarValue::from(self.epsilon)),
            ("n_cap", integer(self.n_cap)),
            ("top_quantile", ScalarValue::from(self.top_quantile)),
            ("min_votes", ScalarValue::Float64(min_votes)),
            ("min_words", integer(min_words)),
            ("max_length", integer(max_length)),
            ("min_responses", integer(self.min_responses)),
            ("max_responses", integer(self.max_responses.unwrap_or(0))),
            ("best_first", ScalarValue::from(self.select == Select::Best)),
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
