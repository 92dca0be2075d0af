//! Objective: the loss of a batch by method, and its derivative by each token's log-probability.

use std::ops::Range;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::dpo::{self, DpoLoss};
use super::metric_sums::{MetricSums, RewardStats};
use super::orpo;
use super::reward::{self, RewardLoss};
use super::step_totals::StepTotals;
use crate::data::batch::{Batch, TargetSpan};
use crate::method::Method;

/// How DORPO applies a pair's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DorpoForm {
    /// Each pair's loss times its weight
    #[default]
    Weighted,
    /// As the published code
    ///
    /// The weight inside the sigmoid, the batch's mean weight times the batch's mean negative log-likelihood.
    Reference,
}

/// The training objective: a method with the hyperparameters of its loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// The training method.
    pub method: Method,
    /// DPO's beta: the strength of the penalty for deviating from the reference, above 0.
    pub beta: f64,
    /// ORPO's lambda: the factor of the odds ratio term, 0 or more.
    pub lambda: f64,
    /// DPO's loss function of the margin.
    pub dpo_loss: DpoLoss,
    /// DPO's label smoothing: the assumed share of pairs with swapped labels, in `[0, 0.5)`.
    pub label_smoothing: f64,
    /// DPO's SFT term: the factor of the chosen responses' negative log-likelihood, 0 or more.
    pub sft_weight: f64,
    /// How DORPO applies weights.
    pub dorpo_form: DorpoForm,
    /// Whether SFT trains on the prompts' tokens, too.
    pub train_on_prompts: bool,
    /// A reward model's loss.
    pub reward_loss: RewardLoss,
}

/// Constants of a pair over the run: weight and reference log-probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairConstants {
    /// The factor of the pair's loss.
    pub weight: f64,
    /// The reference model's log-probability of the chosen response, in nats; 0 without a reference.
    pub ref_chosen: f64,
    /// The reference model's log-probability of the rejected response, in nats; 0 without a reference.
    pub ref_rejected: f64,
}

/// Sums of a text's log-probabilities, accumulated in f64: single tokens are in f32.
struct TextLogps {
    span: TargetSpan,
    /// The sum over the completion, in nats.
    completion: f64,
    /// The sum over all targets, in nats.
    all: f64,
}

impl TextLogps {
    /// Sums of the log-probabilities `logps` of a batch's targets over one text.
    fn new(span: &TargetSpan, logps: &[f32]) -> Self {
        let sum = |range: Range<usize>| logps[range].iter().map(|&p| f64::from(p)).sum();
        Self {
            completion: sum(span.completion.clone()),
            all: sum(span.all.clone()),
            span: span.clone(),
        }
    }

    /// The number of completion tokens, at least 1: it is a divisor.
    fn tokens(&self) -> usize {
        self.span.completion.len().max(1)
    }

    /// The mean log-probability of the completion.
    fn mean(&self) -> f64 {
        self.completion / self.tokens() as f64
    }

    /// The mean log-probability of all targets.
    fn mean_of_all(&self) -> f64 {
        self.all / self.span.all.len().max(1) as f64
    }
}

impl Objective {
    /// Whether examples are pairs of responses.
    pub const fn has_pairs(&self) -> bool {
        match self.method {
            Method::Reward => matches!(self.reward_loss, RewardLoss::BradleyTerry),
            method => method.has_pairs(),
        }
    }

    /// Whether the tokens of the chosen texts' prompts are targets, too.
    pub const fn includes_prompt_targets(&self) -> bool {
        match self.method {
            Method::Orpo | Method::Dorpo => true,
            Method::Sft => self.train_on_prompts,
            Method::Dpo | Method::Ddpo | Method::Reward => false,
        }
    }

    /// Whether a pair of this weight needs no pass through the model: every term of its loss is multiplied by
    /// the weight, and the weight is exactly 0. The SFT term of DPO and the reference form of DORPO have terms
    /// without it.
    pub fn skips(&self, weight: f64) -> bool {
        let is_factor_of_all = match self.method {
            Method::Ddpo => self.sft_weight == 0.0,
            Method::Dorpo => self.dorpo_form == DorpoForm::Weighted,
            _ => false,
        };
        is_factor_of_all && weight == 0.0
    }

    /// A reward model's loss: the share of these texts in the mean loss of a step of `examples`, and its
    /// derivative by each reward. `targets` has one score a text for [`RewardLoss::L1`]; pairs are chosen and
    /// rejected texts alternately.
    pub fn reward_loss(
        &self,
        rewards: &[f32],
        targets: &[f64],
        examples: usize,
    ) -> (MetricSums, Vec<f32>) {
        let share = 1.0 / examples as f64;
        let mut sums = MetricSums {
            rewards: RewardStats::new(rewards),
            ..MetricSums::default()
        };
        let mut dloss_dreward = Vec::with_capacity(rewards.len());
        match self.reward_loss {
            RewardLoss::L1 => {
                for (reward, target) in rewards.iter().zip(targets) {
                    let (loss, slope) = reward::l1(f64::from(*reward), *target);
                    sums.loss += share * loss;
                    dloss_dreward.push((share * slope) as f32);
                }
            }
            RewardLoss::BradleyTerry => {
                for pair in rewards.chunks_exact(2) {
                    let (chosen, rejected) = (f64::from(pair[0]), f64::from(pair[1]));
                    let loss = reward::bradley_terry(chosen, rejected);
                    dloss_dreward
                        .extend([(share * loss.chosen) as f32, (share * loss.rejected) as f32]);
                    sums.add(&MetricSums {
                        examples: 1,
                        loss: share * loss.loss,
                        rewards_chosen: chosen,
                        rewards_rejected: rejected,
                        accuracies: f64::from(chosen > rejected),
                        ..MetricSums::default()
                    });
                }
            }
        }
        (sums, dloss_dreward)
    }

    /// The share of these examples in the mean loss of a step, and its derivative by every target's
    /// log-probability. `batch` has their texts: chosen and rejected alternately, or chosen ones alone for a
    /// method without pairs; `logps` has one log-probability a target, in nats; `constants` and `totals` have
    /// one entry an example.
    pub fn loss(
        &self,
        batch: &Batch,
        logps: &[f32],
        constants: &[PairConstants],
        totals: &[StepTotals],
    ) -> (MetricSums, Vec<f32>) {
        let mut dloss_dlogp = vec![0.0; logps.len()];
        let mut sums = MetricSums::default();
        let texts = batch
            .texts
            .chunks_exact(if self.method.has_pairs() { 2 } else { 1 });
        for ((texts, constants), totals) in texts.zip(constants).zip(totals) {
            let chosen = TextLogps::new(&texts[0], logps);
            let of_example = match texts.get(1) {
                None => sft_example(&chosen, totals, &mut dloss_dlogp),
                Some(rejected) => {
                    let rejected = TextLogps::new(rejected, logps);
                    match self.method {
                        Method::Orpo | Method::Dorpo => {
                            self.orpo_pair(&chosen, &rejected, constants, totals, &mut dloss_dlogp)
                        }
                        _ => self.dpo_pair(&chosen, &rejected, constants, totals, &mut dloss_dlogp),
                    }
                }
            };
            sums.add(&of_example);
        }
        (sums, dloss_dlogp)
    }

    /// DPO and DDPO: `weight / batch size` times the loss of [`dpo::dpo`], plus the SFT term.
    ///
    /// The SFT term is `sft_weight` times the mean negative log-likelihood over all tokens of the chosen
    /// responses of a batch, as TRL 1.16 has it (`loss_type=["sigmoid", "sft"]`, `loss_weights=[1,
    /// sft_weight]`). The weight does not multiply it: it keeps the policy near the chosen responses, and that
    /// is wanted of every pair.
    fn dpo_pair(
        &self,
        chosen: &TextLogps,
        rejected: &TextLogps,
        constants: &PairConstants,
        totals: &StepTotals,
        dloss_dlogp: &mut [f32],
    ) -> MetricSums {
        let share = self.weight(constants) / totals.examples as f64;
        let sequence = |text: &TextLogps, ref_logps: f64| dpo::SequenceLogps {
            logps: text.completion,
            ref_logps,
            tokens: text.tokens(),
        };
        let (c, r) = (
            sequence(chosen, constants.ref_chosen),
            sequence(rejected, constants.ref_rejected),
        );
        let loss = dpo::dpo(&c, &r, self.beta, self.dpo_loss, self.label_smoothing);
        add_to_range(dloss_dlogp, &chosen.span.completion, share * loss.chosen);
        add_to_range(
            dloss_dlogp,
            &rejected.span.completion,
            share * loss.rejected,
        );
        let mut sums = MetricSums {
            examples: 1,
            weights: constants.weight,
            loss: share * loss.loss,
            rewards_chosen: self.beta * c.log_ratio(),
            rewards_rejected: self.beta * r.log_ratio(),
            accuracies: f64::from(c.log_ratio() > r.log_ratio()),
            logps_chosen: chosen.completion,
            logps_rejected: rejected.completion,
            ..MetricSums::default()
        };
        if self.sft_weight > 0.0 {
            let token_share = totals.token_share();
            let slope = -self.sft_weight * token_share;
            add_to_range(dloss_dlogp, &chosen.span.completion, slope);
            sums.loss += slope * chosen.completion;
            sums.nll_loss = -token_share * chosen.completion * totals.examples as f64;
        }
        sums
    }

    /// ORPO and DORPO: negative log-likelihood of the chosen text plus `lambda` times the odds ratio term.
    fn orpo_pair(
        &self,
        chosen: &TextLogps,
        rejected: &TextLogps,
        constants: &PairConstants,
        totals: &StepTotals,
        dloss_dlogp: &mut [f32],
    ) -> MetricSums {
        let pairs = totals.examples as f64;
        let weight = self.weight(constants);
        let reference = self.dorpo_form == DorpoForm::Reference;
        let factor = if reference { weight } else { 1.0 };
        let odds = orpo::odds_ratio(chosen.mean(), rejected.mean(), factor);
        // The factors of each of the chosen text's log-probabilities, and of the odds ratio term.
        let (nll_factor, odds_factor) = if reference {
            let mean_weight = if self.method.is_weighted() {
                totals.device.mean_weight()
            } else {
                1.0
            };
            (mean_weight * totals.token_share(), self.lambda / pairs)
        } else {
            let share = weight / pairs;
            let tokens = chosen.span.all.len().max(1) as f64;
            (share / tokens, share * self.lambda)
        };
        add_to_range(dloss_dlogp, &chosen.span.all, -nll_factor);
        add_to_range(
            dloss_dlogp,
            &chosen.span.completion,
            odds_factor * odds.chosen / chosen.tokens() as f64,
        );
        let slope = odds_factor * odds.rejected / rejected.tokens() as f64;
        add_to_range(dloss_dlogp, &rejected.span.completion, slope);
        let log_odds = orpo::log_odds(chosen.mean()).0 - orpo::log_odds(rejected.mean()).0;
        MetricSums {
            examples: 1,
            weights: constants.weight,
            loss: odds_factor * odds.loss - nll_factor * chosen.all,
            rewards_chosen: self.lambda * chosen.mean(),
            rewards_rejected: self.lambda * rejected.mean(),
            accuracies: f64::from(chosen.mean() > rejected.mean()),
            logps_chosen: chosen.mean(),
            logps_rejected: rejected.mean(),
            nll_loss: -chosen.mean_of_all(),
            log_odds_ratio: super::log_sigmoid(log_odds),
            log_odds_chosen: log_odds,
            ..MetricSums::default()
        }
    }

    /// The weight of a pair; 1 for methods without weights.
    fn weight(&self, constants: &PairConstants) -> f64 {
        if self.method.is_weighted() {
            constants.weight
        } else {
            1.0
        }
    }
}

/// SFT: the mean negative log-likelihood over all target tokens of a step.
fn sft_example(chosen: &TextLogps, totals: &StepTotals, dloss_dlogp: &mut [f32]) -> MetricSums {
    let token_share = totals.token_share();
    add_to_range(dloss_dlogp, &chosen.span.all, -token_share);
    MetricSums {
        examples: 1,
        loss: -token_share * chosen.all,
        logps_chosen: chosen.completion,
        ..MetricSums::default()
    }
}

/// Adds a derivative to those of a range of targets.
fn add_to_range(dloss_dlogp: &mut [f32], range: &Range<usize>, value: f64) {
    for slope in &mut dloss_dlogp[range.clone()] {
        *slope += value as f32;
    }
}

#[cfg(test)]
mod tests {
    use polyphony_model::chat::PromptCompletion;

    use super::super::step_totals::DeviceTotals;
    use super::*;

    /// The published code's loss (`dorpo_trainer.py`), two pairs of different lengths: the weight
    /// inside the sigmoid, the mean weight times the mean over all tokens of all chosen texts.
    #[test]
    fn reference_form_matches_the_published_code() {
        let objective = Objective {
            method: Method::Dorpo,
            beta: 0.1,
            lambda: 0.25,
            dpo_loss: DpoLoss::Sigmoid,
            label_smoothing: 0.0,
            sft_weight: 0.0,
            dorpo_form: DorpoForm::Reference,
            train_on_prompts: false,
            reward_loss: RewardLoss::L1,
        };
        let mut batch = Batch::default();
        // Chosen texts of 2 prompt tokens with 2 and 1 completion tokens, rejected ones with 1 and 2.
        for (completion, with_prompt) in [(2, true), (1, false), (1, true), (2, false)] {
            let ids = (0..2 + completion).collect();
            batch.add(&PromptCompletion { ids, prompt_len: 2 }, with_prompt);
        }
        let logps = [-0.5, -1.0, -2.0, -1.2, -0.7, -0.3, -2.5, -1.5_f32];
        let constants = |weight: f64| PairConstants {
            weight,
            ref_chosen: 0.0,
            ref_rejected: 0.0,
        };
        let step = StepTotals {
            examples: 2,
            device: DeviceTotals {
                examples: 2,
                weights: 2.0,
                chosen_tokens: 5,
            },
        };
        let device = |weights: f64, chosen_tokens: usize| StepTotals {
            examples: 2,
            device: DeviceTotals {
                examples: 1,
                weights,
                chosen_tokens,
            },
        };
        let loss = |logps: &[f32], totals: [StepTotals; 2]| {
            let weights = [constants(0.5), constants(1.5)];
            let (sums, dloss_dlogp) = objective.loss(&batch, logps, &weights, &totals);
            (sums.loss, dloss_dlogp)
        };
        let log_odds = |chosen: f64, rejected: f64| {
            (chosen - rejected) - ((1.0 - chosen.exp()).ln() - (1.0 - rejected.exp()).ln())
        };
        let term = |weight: f64, z: f64| -(1.0 / (1.0 + (-weight * z).exp())).ln();
        // Means over the completions: -1.5 and -1.2, then -0.3 and -2.0.
        let ratio =
            0.25 * (term(0.5, log_odds(-1.5, -1.2)) + term(1.5, log_odds(-0.3, -2.0))) / 2.0;
        let cross_entropy = (0.5 + 1.0 + 2.0 + 0.7 + 0.3) / 5.0;
        // Together the mean weight is 1; by devices of one pair, each device has a mean of its own.
        let alone = f64::midpoint(0.5 * (0.5 + 1.0 + 2.0) / 3.0, 1.5 * (0.7 + 0.3) / 2.0);
        for (totals, expected) in [
            ([step, step], ratio + cross_entropy),
            ([device(0.5, 3), device(1.5, 2)], ratio + alone),
        ] {
            let (actual, dloss_dlogp) = loss(&logps, totals);
            assert!((actual - expected).abs() < 1e-6, "{actual} {expected}");
            for index in 0..logps.len() {
                let shifted = |by: f32| {
                    let mut logps = logps;
                    logps[index] += by;
                    loss(&logps, totals).0
                };
                let slope = (shifted(1e-3) - shifted(-1e-3)) / 2e-3;
                assert!(
                    (slope - f64::from(dloss_dlogp[index])).abs() < 1e-4,
                    "{index}: {slope}"
                );
            }
        }
    }
}
