//! What is a batch's loss, and by how much does each token's log-probability change it?

use serde::{Deserialize, Serialize};

use crate::batch::{Batch, TargetSpan};
use crate::loss::{dpo, orpo, reward};
use crate::sureness::TokenMetrics;

/// What is trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Supervised: likelihood of the chosen answers.
    Sft,
    /// Direct preference optimisation.
    Dpo,
    /// DPO with each pair's loss times its weight.
    Ddpo,
    /// Odds-ratio preference optimisation.
    Orpo,
    /// ORPO with weights.
    Dorpo,
    /// A reward model, by votes.
    Reward,
}

impl Method {
    /// As the command line names it.
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

    /// Whether it compares with a reference.
    pub const fn has_reference(self) -> bool {
        matches!(self, Self::Dpo | Self::Ddpo)
    }

    /// Whether it needs weights.
    pub const fn is_weighted(self) -> bool {
        matches!(self, Self::Ddpo | Self::Dorpo)
    }

    /// Whether a pair's rejected answer counts.
    pub const fn has_pairs(self) -> bool {
        matches!(self, Self::Dpo | Self::Ddpo | Self::Orpo | Self::Dorpo)
    }
}

/// Where DORPO's weight stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DorpoForm {
    /// Each pair's whole loss times its weight.
    #[default]
    Weighted,
    /// As the published code: the weight inside the sigmoid, the batch's mean weight times the
    /// batch's mean likelihood.
    Reference,
}

/// A method with its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// The method.
    pub method: Method,
    /// DPO's beta: how far the policy may stray.
    pub beta: f64,
    /// ORPO's lambda: how much the odds count beside the likelihood.
    pub lambda: f64,
    /// What DPO does with a margin.
    pub kind: dpo::Kind,
    /// How often DPO supposes that a pair is the wrong way round.
    pub label_smoothing: f64,
    /// Where DORPO's weight stands.
    pub form: DorpoForm,
    /// Whether SFT learns the prompts, too.
    pub on_prompts: bool,
    /// What a reward model learns from.
    pub reward: reward::Kind,
}

/// What the pairs of a whole step have in common, whichever pass they go through.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepTotals {
    /// How many pairs.
    pub pairs: usize,
    /// The sum of their weights.
    pub weights: f64,
    /// How many of the chosen texts' tokens are learnt.
    pub chosen_tokens: usize,
}

/// A pair's numbers that do not change while it is learnt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairConstants {
    /// What its loss is multiplied by.
    pub weight: f64,
    /// The reference's log-probability of the chosen answer; 0 where there is no reference.
    pub ref_chosen: f64,
    /// That of the rejected one.
    pub ref_rejected: f64,
}

/// Sums over pairs; means when divided by their number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MetricSums {
    /// The loss: not a sum over pairs, but already each pair's share of the mean.
    pub loss: f64,
    /// `beta` times the log ratio, or for ORPO times the mean log-probability.
    pub rewards_chosen: f64,
    /// The same of the rejected answer.
    pub rewards_rejected: f64,
    /// In how many pairs the chosen answer's reward is higher.
    pub accuracies: f64,
    /// The chosen answer's log-probability: summed over tokens, for ORPO their mean.
    pub logps_chosen: f64,
    /// The same of the rejected answer.
    pub logps_rejected: f64,
    /// ORPO: the mean negative log-likelihood of the chosen text.
    pub nll_loss: f64,
    /// ORPO: `log sigmoid(log odds)`.
    pub log_odds_ratio: f64,
    /// ORPO: the log odds.
    pub log_odds_chosen: f64,
    /// How sure the model is of its answers' tokens.
    pub sureness: TokenMetrics,
    /// What a reward model gives.
    pub scores: RewardStats,
}

/// A reward model's numbers for the texts of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardStats {
    /// How many texts.
    pub texts: usize,
    /// Their sum.
    pub sum: f64,
    /// The smallest; infinite where there is none.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Default for RewardStats {
    fn default() -> Self {
        Self {
            texts: 0,
            sum: 0.0,
            least: f64::INFINITY,
            most: f64::NEG_INFINITY,
        }
    }
}

impl RewardStats {
    fn of(scores: &[f32]) -> Self {
        let scores = scores.iter().map(|&score| f64::from(score));
        scores.fold(Self::default(), |all, score| {
            all.with(&Self {
                texts: 1,
                sum: score,
                least: score,
                most: score,
            })
        })
    }

    fn with(self, more: &Self) -> Self {
        Self {
            texts: self.texts + more.texts,
            sum: self.sum + more.sum,
            least: self.least.min(more.least),
            most: self.most.max(more.most),
        }
    }
}

impl MetricSums {
    /// Adds the sums of other pairs.
    pub fn add(&mut self, more: &Self) {
        self.loss += more.loss;
        self.rewards_chosen += more.rewards_chosen;
        self.rewards_rejected += more.rewards_rejected;
        self.accuracies += more.accuracies;
        self.logps_chosen += more.logps_chosen;
        self.logps_rejected += more.logps_rejected;
        self.nll_loss += more.nll_loss;
        self.log_odds_ratio += more.log_odds_ratio;
        self.log_odds_chosen += more.log_odds_chosen;
        self.sureness.add(&more.sureness);
        self.scores = self.scores.with(&more.scores);
    }
}

/// An answer's log-probabilities, summed in f64.
struct SequenceLogps {
    rows: TargetSpan,
    completion: f64,
    all: f64,
}

impl SequenceLogps {
    fn new(rows: &TargetSpan, logps: &[f32]) -> Self {
        let sum = |range: std::ops::Range<usize>| logps[range].iter().map(|&p| f64::from(p)).sum();
        Self {
            completion: sum(rows.completion.clone()),
            all: sum(rows.all.clone()),
            rows: rows.clone(),
        }
    }

    fn tokens(&self) -> usize {
        self.rows.completion.len().max(1)
    }

    fn mean(&self) -> f64 {
        self.completion / self.tokens() as f64
    }

    fn mean_of_all(&self) -> f64 {
        self.all / self.rows.all.len().max(1) as f64
    }
}

impl Objective {
    /// Whether examples are pairs of answers.
    pub const fn has_pairs(&self) -> bool {
        match self.method {
            Method::Reward => matches!(self.reward, reward::Kind::BradleyTerry),
            method => method.has_pairs(),
        }
    }

    /// The share that these texts' scores have in a step's mean loss of a reward model, and its
    /// derivative by each. `targets` are what they should be, where they are no pairs.
    pub fn of_scores(
        &self,
        scores: &[f32],
        targets: &[f64],
        totals: &StepTotals,
    ) -> (MetricSums, Vec<f32>) {
        let share = 1.0 / totals.pairs as f64;
        let mut sums = MetricSums {
            scores: RewardStats::of(scores),
            ..MetricSums::default()
        };
        let mut by = Vec::with_capacity(scores.len());
        match self.reward {
            reward::Kind::L1 => {
                for (score, target) in scores.iter().zip(targets) {
                    let (loss, slope) = reward::l1(f64::from(*score), *target);
                    sums.loss += share * loss;
                    by.push((share * slope) as f32);
                }
            }
            reward::Kind::BradleyTerry => {
                for pair in scores.chunks_exact(2) {
                    let (chosen, rejected) = (f64::from(pair[0]), f64::from(pair[1]));
                    let loss = reward::bradley_terry(chosen, rejected);
                    by.extend([(share * loss.chosen) as f32, (share * loss.rejected) as f32]);
                    sums.add(&MetricSums {
                        loss: share * loss.loss,
                        rewards_chosen: chosen,
                        rewards_rejected: rejected,
                        accuracies: f64::from(chosen > rejected),
                        ..MetricSums::default()
                    });
                }
            }
        }
        (sums, by)
    }

    /// Whether the chosen texts' prompts are asked for, too.
    pub const fn whole_chosen(&self) -> bool {
        match self.method {
            Method::Orpo | Method::Dorpo => true,
            Method::Sft => self.on_prompts,
            Method::Dpo | Method::Ddpo | Method::Reward => false,
        }
    }

    /// The share that these pairs have in a step's mean loss, and the derivative by every target's
    /// log-probability. `batch` holds the pairs' texts: chosen and rejected by turns, or chosen ones
    /// alone where the method has no pairs.
    pub fn of(
        &self,
        batch: &Batch,
        logps: &[f32],
        fixed: &[PairConstants],
        totals: &StepTotals,
    ) -> (MetricSums, Vec<f32>) {
        let mut by = vec![0.0; logps.len()];
        let mut sums = MetricSums::default();
        let each = if self.method.has_pairs() { 2 } else { 1 };
        for (texts, fixed) in batch.texts.chunks_exact(each).zip(fixed) {
            let chosen = SequenceLogps::new(&texts[0], logps);
            let more = match texts.get(1) {
                None => likelihood(&chosen, totals, &mut by),
                Some(rejected) => {
                    let rejected = SequenceLogps::new(rejected, logps);
                    match self.method {
                        Method::Orpo | Method::Dorpo => {
                            self.odds(&chosen, &rejected, fixed, totals, &mut by)
                        }
                        _ => self.margin(&chosen, &rejected, fixed, totals, &mut by),
                    }
                }
            };
            sums.add(&more);
        }
        (sums, by)
    }

    /// DPO and DDPO: `w / B` times the loss.
    fn margin(
        &self,
        chosen: &SequenceLogps,
        rejected: &SequenceLogps,
        fixed: &PairConstants,
        totals: &StepTotals,
        by: &mut [f32],
    ) -> MetricSums {
        let share = self.weight(fixed) / totals.pairs as f64;
        let answer = |answer: &SequenceLogps, ref_logps: f64| dpo::SequenceLogps {
            logps: answer.completion,
            ref_logps,
            tokens: answer.tokens(),
        };
        let (c, r) = (
            answer(chosen, fixed.ref_chosen),
            answer(rejected, fixed.ref_rejected),
        );
        let loss = dpo::dpo(&c, &r, self.beta, self.kind, self.label_smoothing);
        fill(by, &chosen.rows.completion, share * loss.chosen);
        fill(by, &rejected.rows.completion, share * loss.rejected);
        MetricSums {
            loss: share * loss.loss,
            rewards_chosen: self.beta * c.log_ratio(),
            rewards_rejected: self.beta * r.log_ratio(),
            accuracies: f64::from(c.log_ratio() > r.log_ratio()),
            logps_chosen: chosen.completion,
            logps_rejected: rejected.completion,
            ..MetricSums::default()
        }
    }

    /// ORPO and DORPO: likelihood of the chosen text, and `lambda` times the odds.
    fn odds(
        &self,
        chosen: &SequenceLogps,
        rejected: &SequenceLogps,
        fixed: &PairConstants,
        totals: &StepTotals,
        by: &mut [f32],
    ) -> MetricSums {
        let pairs = totals.pairs as f64;
        let weight = self.weight(fixed);
        let reference = self.form == DorpoForm::Reference;
        let factor = if reference { weight } else { 1.0 };
        let odds = orpo::odds_ratio(chosen.mean(), rejected.mean(), factor);
        // By how much each of the chosen text's log-probabilities counts, and the odds do.
        let (by_token, by_odds) = if reference {
            let mean_weight = if self.method.is_weighted() {
                totals.weights / pairs
            } else {
                1.0
            };
            let tokens = totals.chosen_tokens.max(1) as f64;
            (mean_weight / tokens, self.lambda / pairs)
        } else {
            let share = weight / pairs;
            let tokens = chosen.rows.all.len().max(1) as f64;
            (share / tokens, share * self.lambda)
        };
        fill(by, &chosen.rows.all, -by_token);
        fill(
            by,
            &chosen.rows.completion,
            by_odds * odds.chosen / chosen.tokens() as f64,
        );
        let slope = by_odds * odds.rejected / rejected.tokens() as f64;
        fill(by, &rejected.rows.completion, slope);
        let z = orpo::log_odds(chosen.mean()).0 - orpo::log_odds(rejected.mean()).0;
        MetricSums {
            loss: by_odds * odds.loss - by_token * chosen.all,
            rewards_chosen: self.lambda * chosen.mean(),
            rewards_rejected: self.lambda * rejected.mean(),
            accuracies: f64::from(chosen.mean() > rejected.mean()),
            logps_chosen: chosen.mean(),
            logps_rejected: rejected.mean(),
            nll_loss: -chosen.mean_of_all(),
            log_odds_ratio: crate::loss::log_sigmoid(z),
            log_odds_chosen: z,
            ..MetricSums::default()
        }
    }

    fn weight(&self, fixed: &PairConstants) -> f64 {
        if self.method.is_weighted() {
            fixed.weight
        } else {
            1.0
        }
    }
}

/// SFT: the mean over all tokens of a step.
fn likelihood(chosen: &SequenceLogps, totals: &StepTotals, by: &mut [f32]) -> MetricSums {
    let tokens = totals.chosen_tokens.max(1) as f64;
    fill(by, &chosen.rows.all, -1.0 / tokens);
    MetricSums {
        loss: -chosen.all / tokens,
        logps_chosen: chosen.completion,
        ..MetricSums::default()
    }
}

/// Adds to the derivatives of a range.
fn fill(by: &mut [f32], range: &std::ops::Range<usize>, more: f64) {
    for slope in &mut by[range.clone()] {
        *slope += more as f32;
    }
}

#[cfg(test)]
mod tests {
    use polyphony_model::chat::Tokens;

    use super::*;

    /// The published code's loss (`dorpo_trainer.py`), two pairs of different lengths: the weight
    /// inside the sigmoid, the mean weight times the mean over all tokens of all chosen texts.
    #[test]
    fn the_reference_form_is_that_of_the_published_code() {
        let objective = Objective {
            method: Method::Dorpo,
            beta: 0.1,
            lambda: 0.25,
            kind: dpo::Kind::Sigmoid,
            label_smoothing: 0.0,
            form: DorpoForm::Reference,
            on_prompts: false,
            reward: reward::Kind::L1,
        };
        let mut batch = Batch::default();
        // Chosen texts of 2 prompt tokens with 2 and 1 of the answer, rejected ones with 1 and 2.
        for (answer, whole) in [(2, true), (1, false), (1, true), (2, false)] {
            let ids = (0..2 + answer).collect();
            batch.add(&Tokens { ids, prompt: 2 }, whole);
        }
        let logps = [-0.5, -1.0, -2.0, -1.2, -0.7, -0.3, -2.5, -1.5_f32];
        let fixed = |weight: f64| PairConstants {
            weight,
            ref_chosen: 0.0,
            ref_rejected: 0.0,
        };
        let totals = StepTotals {
            pairs: 2,
            weights: 2.0,
            chosen_tokens: 5,
        };
        let loss = |logps: &[f32]| {
            let (sums, by) = objective.of(&batch, logps, &[fixed(0.5), fixed(1.5)], &totals);
            (sums.loss, by)
        };
        let odds = |chosen: f64, rejected: f64| {
            (chosen - rejected) - ((1.0 - chosen.exp()).ln() - (1.0 - rejected.exp()).ln())
        };
        let term = |weight: f64, z: f64| -(1.0 / (1.0 + (-weight * z).exp())).ln();
        // Means over the answers: -1.5 and -1.2, then -0.3 and -2.0.
        let ratio = 0.25 * (term(0.5, odds(-1.5, -1.2)) + term(1.5, odds(-0.3, -2.0))) / 2.0;
        let cross_entropy = (0.5 + 1.0 + 2.0 + 0.7 + 0.3) / 5.0;
        // The mean weight is 1.
        let known = ratio + cross_entropy;
        let (given, by) = loss(&logps);
        assert!((given - known).abs() < 1e-6, "{given} {known}");
        for place in 0..logps.len() {
            let moved = |by: f32| {
                let mut logps = logps;
                logps[place] += by;
                loss(&logps).0
            };
            let slope = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            assert!(
                (slope - f64::from(by[place])).abs() < 1e-4,
                "{place}: {slope}"
            );
        }
    }
}
