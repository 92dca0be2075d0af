//! Sampling: logits processors (temperature, top-k, top-p, min-p, repetition penalty) as in transformers, and
//! the choice of the next token.

use polyphony_io::random::SplitMix64;

/// Sampling parameters, named as in transformers and vLLM. Each has a value that disables it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingParams {
    /// Temperature: the divisor of logits, >= 0; 0 is greedy decoding, 1 leaves logits unchanged.
    pub temperature: f32,
    /// Top-k: sample from the `k` most probable tokens; 0 is off.
    pub top_k: usize,
    /// Top-p (nucleus sampling): sample from the most probable tokens whose probabilities add up to this, in
    /// [0, 1]; 1 is off.
    pub top_p: f32,
    /// Min-p: sample from tokens at least this probable relative to the most probable one, in [0, 1]; 0 is
    /// off.
    pub min_p: f32,
    /// Repetition penalty, > 0: values above 1 make tokens of the prompt and the text so far less probable;
    /// 1 is off.
    pub repetition_penalty: f32,
}

impl SamplingParams {
    /// Greedy decoding: the most probable token at every step.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
    };

    /// The sampling parameters of the paper's evaluation (Chung et al. 2025, appendix).
    pub const PAPER: Self = Self {
        temperature: 1.0,
        top_k: 50,
        top_p: 0.95,
        min_p: 0.0,
        repetition_penalty: 1.1,
    };

    /// Applies the processors in transformers' order: repetition penalty, temperature, top-k, top-p, min-p.
    /// `logits` has V values; excluded tokens get minus infinity. `ids` are the prompt and the text so far.
    pub fn process_logits(&self, logits: &mut [f32], ids: &[u32]) {
        apply_repetition_penalty(logits, ids, self.repetition_penalty);
        if self.temperature == 0.0 {
            return;
        }
        for logit in logits.iter_mut() {
            *logit /= self.temperature;
        }
        apply_top_k(logits, self.top_k);
        apply_top_p(logits, self.top_p);
        apply_min_p(logits, self.min_p);
    }

    /// The next token: processes the logits, then samples, or takes the most probable token at temperature 0.
    pub fn next_token(&self, logits: &mut [f32], ids: &[u32], random: &mut SplitMix64) -> u32 {
        self.process_logits(logits, ids);
        if self.temperature == 0.0 {
            return argmax(logits);
        }
        sample(logits, random.next_f64())
    }
}

/// Repetition penalty: divides the logits of tokens that occur in `ids` by `penalty`, or multiplies those below
/// zero, each token once (Keskar et al. 2019; transformers: `RepetitionPenaltyLogitsProcessor`).
pub fn apply_repetition_penalty(logits: &mut [f32], ids: &[u32], penalty: f32) {
    if penalty == 1.0 {
        return;
    }
    let mut tokens = ids.to_vec();
    tokens.sort_unstable();
    tokens.dedup();
    for token in tokens {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit < 0.0 {
                *logit * penalty
            } else {
                *logit / penalty
            };
        }
    }
}

/// Top-k: excludes all logits below the `k`-th largest (transformers: `TopKLogitsWarper`).
pub fn apply_top_k(logits: &mut [f32], k: usize) {
    if k == 0 || k >= logits.len() {
        return;
    }
    let mut sorted = logits.to_vec();
    let (_, smallest, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let smallest = *smallest;
    for logit in logits {
        if *logit < smallest {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Top-p, nucleus sampling (Holtzman et al. 2020; transformers: `TopPLogitsWarper`): from the least probable
/// up, tokens are excluded while their probabilities add up to at most 1 - p. At least one token remains.
pub fn apply_top_p(logits: &mut [f32], p: f32) {
    if p >= 1.0 {
        return;
    }
    let mut order: Vec<usize> = (0..logits.len())
        .filter(|&token| logits[token] > f32::NEG_INFINITY)
        .collect();
    order.sort_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)));
    let probs = softmax(logits);
    let mut sum = 0.0;
    order.pop();
    for token in order {
        sum += probs[token];
        if sum > 1.0 - p {
            break;
        }
        logits[token] = f32::NEG_INFINITY;
    }
}

/// Min-p: excludes tokens less than `p` times as probable as the most probable one (transformers:
/// `MinPLogitsWarper`).
pub fn apply_min_p(logits: &mut [f32], p: f32) {
    if p <= 0.0 {
        return;
    }
    let probs = softmax(logits);
    let threshold = p * probs.iter().copied().fold(0.0, f32::max);
    for (logit, prob) in logits.iter_mut().zip(probs) {
        if prob < threshold {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Softmax: the probabilities of logits; excluded tokens get 0.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut probs: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let sum: f32 = probs.iter().sum();
    for prob in &mut probs {
        *prob /= sum;
    }
    probs
}

/// The token with the largest logit; of equal ones the first.
fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best as u32
}

/// Samples a token by inverting the cumulative distribution at `unit`, in [0, 1).
fn sample(logits: &[f32], unit: f64) -> u32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| f64::from((logit - max).exp());
    let threshold = unit * logits.iter().map(weight).sum::<f64>();
    let mut sum = 0.0;
    for (token, logit) in logits.iter().enumerate() {
        sum += weight(logit);
        if sum > threshold {
            return token as u32;
        }
    }
    argmax(logits)
}
