//! Mode coverage of DPO, DDPO, `DivPO` and marginal pairs on a synthetic task: `cargo bench --bench modes`.
//!
//! Each prompt has six right answers of unequal frequency and two wrong ones. A small model is fine-tuned on
//! all of them (SFT), then on pairs of a right and a wrong answer (DPO, DDPO). The probability of every answer
//! is computed, not sampled: the reward is the probability of right answers, the number of modes is the
//! effective number of right answers, `exp(entropy)`. DPO, DDPO and `DivPO` are compared at the step where they
//! first reach the same reward. Marginal pairs (`ReDiPO`) hold two answers of the same quality, so they are not
//! made to raise the reward: they train for as many steps as DPO. `SEEDS=5` sets the number of random seeds.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, and prints what it found"
)]

use std::fmt::Write as _;

use polyphony_engine::functions::pairs_by_diversity::selection::{self, Scored, Thresholds};
use polyphony_engine::nearest_distance::nearest_distances;
use polyphony_engine::{deviation, weight};
use polyphony_io::random::SplitMix64;
use polyphony_model::chat::PromptCompletion;
use polyphony_model::decoder::Head;
use polyphony_model::device::DeviceSpec;
use polyphony_model::files::ModelFiles;
use polyphony_model::lora::LoraConfig;
use polyphony_trainer::data::Example;
use polyphony_trainer::data::batch::Batch;
use polyphony_trainer::loss::dpo::DpoLoss;
use polyphony_trainer::loss::objective::{DorpoForm, Objective, PairConstants};
use polyphony_trainer::loss::reward::RewardLoss;
use polyphony_trainer::method::Method;
use polyphony_trainer::optim::adamw::{AdamW, Moments, clip_grad_norm, global_norm};
use polyphony_trainer::policy::Policy;
use polyphony_trainer::run::micro_batch::MicroBatcher;
use polyphony_trainer::tiny_llama::TinyLlama;

const PROMPTS: usize = 12;
const RIGHT: usize = 6;
const WRONG: usize = 2;
const PAIRS: usize = 12;
/// The range of noise in each value of the texts' vectors; without noise, the vectors of different answers are
/// different unit vectors.
const NOISE: f64 = 0.4;
/// DivPO: the most deviant right and the least deviant wrong answers of a prompt that are paired.
const DIVPO_PAIRS: usize = PAIRS / 2;
/// Marginal pairs: answers of equal quality; the other thresholds are the defaults of `polyphony pairs`.
const MARGINAL: Thresholds = Thresholds {
    epsilon: 0.0,
    n_cap: 4,
    top_quantile: 0.25,
};
/// The reward at which methods are compared.
const REWARD: f64 = 0.95;

/// The synthetic task of a random seed: each answer of each prompt is three letters.
struct SyntheticTask {
    answers: Vec<Vec<[u8; 3]>>,
}

impl SyntheticTask {
    fn new(random: &mut SplitMix64) -> Self {
        let mut letters = || [0; 3].map(|_| b'a' + random.below(26) as u8);
        let mut distinct = || {
            let mut answers: Vec<[u8; 3]> = Vec::new();
            while answers.len() < RIGHT + WRONG {
                let answer = letters();
                if !answers.contains(&answer) {
                    answers.push(answer);
                }
            }
            answers
        };
        Self {
            answers: (0..PROMPTS).map(|_| distinct()).collect(),
        }
    }

    /// The token ids of a prompt and an answer, in the chat template of the tiny Llama.
    fn tokens(&self, prompt: usize, answer: usize) -> PromptCompletion {
        let mut ids = vec![256, 257, u32::from(b'A') + prompt as u32, 259, 258];
        let begin = ids.len();
        ids.extend(self.answers[prompt][answer].map(u32::from));
        ids.push(259);
        PromptCompletion {
            ids,
            prompt_len: begin,
        }
    }
}

/// Samples a right answer: each is half as frequent as the one before.
fn right(random: &mut SplitMix64) -> usize {
    let mut left = random.next_f64() * (1.0 - 0.5_f64.powi(RIGHT as i32));
    (0..RIGHT - 1)
        .find(|&answer| {
            let share = 0.5_f64.powi(answer as i32 + 1);
            left -= share;
            left < 0.0
        })
        .unwrap_or(RIGHT - 1)
}

fn example(chosen: PromptCompletion, rejected: Option<PromptCompletion>, weight: f64) -> Example {
    Example {
        chosen,
        rejected,
        weight,
        score: 0.0,
        prompt_hash: 0,
        row: 1,
    }
}

/// The training data of a random seed.
#[derive(Default)]
struct Data {
    /// SFT examples, a third of them wrong.
    written: Vec<Example>,
    /// Pairs of a right and a wrong answer, weighted by deviation as in `polyphony pairs`.
    pairs: Vec<Example>,
    /// DivPO's pairs of the same answers: the most deviant of the right ones over the least deviant of the
    /// wrong ones, deviation within the right and within the wrong ones.
    divpo: Vec<Example>,
    /// Marginal pairs of the same answers: of two right or two wrong ones the one that is farther from its
    /// most similar neighbour.
    marginal: Vec<Example>,
}

/// The data of a task. Each text has its own vector, close to those of the same answer.
fn data(task: &SyntheticTask, random: &mut SplitMix64) -> Data {
    let mut data = Data::default();
    for prompt in 0..PROMPTS {
        let pair = |chosen: usize, rejected: usize, weight: f64| {
            let rejected = Some(task.tokens(prompt, rejected));
            example(task.tokens(prompt, chosen), rejected, weight)
        };
        for number in 0..3 * PAIRS {
            let answer = match number % 3 {
                0 => RIGHT + random.below(WRONG),
                _ => right(random),
            };
            let tokens = task.tokens(prompt, answer);
            data.written.push(example(tokens, None, 1.0));
        }
        let sampled: Vec<(usize, usize)> = (0..PAIRS)
            .map(|_| (right(random), RIGHT + random.below(WRONG)))
            .collect();
        let all: Vec<usize> = sampled
            .iter()
            .flat_map(|(chosen, rejected)| [*chosen, *rejected])
            .collect();
        let mut vectors: Vec<f32> = (0..all.len() * (RIGHT + WRONG))
            .map(|_| (NOISE * (random.next_f64() - 0.5)) as f32)
            .collect();
        for (row, answer) in all.iter().enumerate() {
            vectors[row * (RIGHT + WRONG) + answer] += 1.0;
        }
        let deviations = deviation::deviations(&vectors, RIGHT + WRONG);
        let weights = weight::weights(&[&deviations]);
        for ((chosen, rejected), weight) in sampled.iter().zip(weights.iter().step_by(2)) {
            data.pairs.push(pair(*chosen, *rejected, *weight));
        }
        let rows: Vec<&[f32]> = vectors.chunks_exact(RIGHT + WRONG).collect();
        // The right answers are at even rows, the wrong ones at odd rows; the least deviant come first.
        let by_deviation = |first: usize| {
            let pool: Vec<&[f32]> = rows.iter().skip(first).step_by(2).copied().collect();
            let deviations = deviation::deviations_of(&pool);
            let mut order: Vec<usize> = (0..pool.len()).collect();
            order.sort_by(|a, b| deviations[*a].total_cmp(&deviations[*b]));
            let answers: Vec<usize> = order.iter().map(|&row| all[2 * row + first]).collect();
            answers
        };
        let (best, worst) = (by_deviation(0), by_deviation(1));
        let chosen = best.iter().rev().take(DIVPO_PAIRS);
        let rejected = worst.iter().take(DIVPO_PAIRS);
        let divpo = chosen.zip(rejected).map(|(a, b)| pair(*a, *b, 1.0));
        data.divpo.extend(divpo);
        let scored: Vec<Scored> = all
            .iter()
            .zip(nearest_distances(&rows))
            .map(|(&answer, distance)| Scored {
                score: if answer < RIGHT { 1.0 } else { 0.0 },
                diversity: distance.unwrap(),
            })
            .collect();
        let marginal = selection::pairs(&scored, MARGINAL).into_iter();
        data.marginal
            .extend(marginal.map(|(a, b)| pair(all[a], all[b], 1.0)));
    }
    data
}

/// The reward (probability of right answers among all answers) and the effective number of right answers, both
/// as means over prompts.
fn measure(policy: &Policy, task: &SyntheticTask) -> (f64, f64) {
    let (mut reward, mut modes) = (0.0, 0.0);
    for prompt in 0..PROMPTS {
        let mut batch = Batch::default();
        (0..RIGHT + WRONG).for_each(|answer| batch.add(&task.tokens(prompt, answer), false));
        let logps = policy.logps(&batch).unwrap();
        let shares = batch.texts.iter().map(|rows| {
            let sum: f64 = logps[rows.completion.clone()]
                .iter()
                .map(|&p| f64::from(p))
                .sum();
            sum.exp()
        });
        let shares: Vec<f64> = shares.collect();
        let of_right: f64 = shares[..RIGHT].iter().sum();
        let entropy: f64 = shares[..RIGHT]
            .iter()
            .map(|share| share / of_right)
            .filter(|share| *share > 0.0)
            .map(|share| -share * share.ln())
            .sum();
        reward += of_right / shares.iter().sum::<f64>() / PROMPTS as f64;
        modes += entropy.exp() / PROMPTS as f64;
    }
    (reward, modes)
}

fn objective(method: Method) -> Objective {
    Objective {
        method,
        beta: 0.1,
        lambda: 0.25,
        dpo_loss: DpoLoss::Sigmoid,
        label_smoothing: 0.0,
        sft_weight: 0.0,
        dorpo_form: DorpoForm::Weighted,
        train_on_prompts: false,
        reward_loss: RewardLoss::L1,
    }
}

/// Trains until `enough` is true, at most `steps` steps. Returns the number of steps.
fn train(
    policy: &mut Policy,
    method: Method,
    examples: &[Example],
    rate: f64,
    steps: usize,
    random: &mut SplitMix64,
    enough: impl Fn(&Policy) -> bool,
) -> usize {
    let passes = MicroBatcher::new(objective(method), None, 8192, false);
    let constants: Vec<PairConstants> = examples
        .iter()
        .map(|example| reference(policy, example))
        .collect();
    let adamw = AdamW {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
    };
    let mut moments = Moments::new(&policy.parameters()).unwrap();
    for step in 0..steps {
        if enough(policy) {
            return step;
        }
        let batch: Vec<(&Example, &PairConstants)> = (0..24)
            .map(|_| random.below(examples.len()))
            .map(|index| (&examples[index], &constants[index]))
            .collect();
        let (_, gradients) = passes.forward_backward(policy, &batch).unwrap();
        let norm = global_norm(&gradients).unwrap();
        let gradients = clip_grad_norm(gradients, norm, 1.0).unwrap();
        let (values, next) = adamw
            .step(&policy.parameters(), &gradients, &moments, rate)
            .unwrap();
        policy.set_parameters(values);
        moments = next;
    }
    steps
}

/// The weight and reference log-probabilities of a pair; the reference model is the policy before training.
fn reference(policy: &Policy, example: &Example) -> PairConstants {
    let mut batch = Batch::default();
    batch.add(&example.chosen, false);
    batch.add(example.rejected.as_ref().unwrap_or(&example.chosen), false);
    let logps = policy.logps(&batch).unwrap();
    let sum = |text: usize| {
        let rows = batch.texts[text].completion.clone();
        logps[rows].iter().map(|&p| f64::from(p)).sum()
    };
    PairConstants {
        weight: example.weight,
        ref_chosen: sum(0),
        ref_rejected: sum(1),
    }
}

fn main() {
    let seeds = std::env::var("SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(8);
    let folder = tempfile::tempdir().unwrap();
    println!(
        "| seed | SFT reward, modes | DPO reward, modes, steps | DDPO reward, modes, steps | DivPO reward, \
         modes, steps | marginal reward, modes, steps |"
    );
    println!("|---|---|---|---|---|---|");
    let mut modes_by_seed: Vec<Vec<f64>> = Vec::new();
    for seed in 0..seeds {
        let mut random = SplitMix64::seed_from_u64(seed);
        let task = SyntheticTask::new(&mut random);
        let data = data(&task, &mut random);
        let at = folder.path().join(seed.to_string());
        let tiny = TinyLlama {
            hidden_size: 48,
            num_layers: 2,
            num_heads: 4,
            seed,
        };
        tiny.write(&at).unwrap();
        let files = ModelFiles::find_model(at.to_str().unwrap()).unwrap();
        let mut policy = Policy::load(&files, Head::Lm, DeviceSpec::Cpu).unwrap();
        let spec = LoraConfig {
            r: 32,
            lora_alpha: 64.0,
            target_modules: vec!["all-linear".to_owned()],
            ..LoraConfig::default()
        };
        policy.init_lora(&spec, seed).unwrap();
        train(
            &mut policy,
            Method::Sft,
            &data.written,
            5e-3,
            500,
            &mut random,
            |_| false,
        );
        let start = policy.parameters();
        let before = measure(&policy, &task);
        let mut row = format!("| {seed} | {:.3}, {:.2} |", before.0, before.1);
        let mut modes = Vec::new();
        let mut dpo_steps = 0;
        for (name, method, pairs) in [
            ("dpo", Method::Dpo, &data.pairs),
            ("ddpo", Method::Ddpo, &data.pairs),
            ("divpo", Method::Dpo, &data.divpo),
            ("marginal", Method::Dpo, &data.marginal),
        ] {
            policy.set_parameters(start.clone());
            let is_marginal = name == "marginal";
            let enough = |policy: &Policy| !is_marginal && measure(policy, &task).0 >= REWARD;
            let mut order = SplitMix64::seed_from_u64(seed + 1000);
            let most = if is_marginal { dpo_steps } else { 2000 };
            let steps = train(&mut policy, method, pairs, 2e-4, most, &mut order, enough);
            if name == "dpo" {
                dpo_steps = steps;
            }
            let (reward, effective) = measure(&policy, &task);
            let _ = write!(row, " {reward:.3}, {effective:.2}, {steps} |");
            modes.push(effective);
        }
        println!("{row}");
        modes_by_seed.push(modes);
    }
    println!();
    for (column, name) in [(1, "DDPO"), (2, "DivPO"), (3, "marginal")] {
        let differences: Vec<f64> = modes_by_seed
            .iter()
            .map(|modes| modes[column] - modes[0])
            .collect();
        let (mean, half) = interval(&differences);
        println!(
            "{name} keeps {mean:.3} more modes than DPO (95 % interval {:.3} to {:.3}, {} seeds)",
            mean - half,
            mean + half,
            differences.len()
        );
    }
}

/// The mean of differences, and half the width of its 95 % confidence interval.
fn interval(differences: &[f64]) -> (f64, f64) {
    let count = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (count - 1.0);
    // 97.5 % quantiles of Student's t, by degrees of freedom 1 to 15.
    let t = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131,
    ];
    let t = t
        .get(differences.len().saturating_sub(2))
        .copied()
        .unwrap_or(1.96);
    (mean, t * (variance / count).sqrt())
}
