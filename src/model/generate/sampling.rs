//! Which token comes next? Logits are bent as transformers bends them, then one is drawn.

use polyphony_io::random::SplitMix64;

/// How the next token is chosen. Each step is left out at its neutral value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingParams {
    /// Logits are divided by it; 0 takes the likeliest token.
    pub temperature: f32,
    /// Only this many likeliest tokens stay; 0 keeps all.
    pub top_k: usize,
    /// Only the likeliest tokens that reach this share together stay; 1 keeps all.
    pub top_p: f32,
    /// Only tokens at least this likely next to the likeliest stay; 0 keeps all.
    pub min_p: f32,
    /// What makes tokens that stand in the text already less likely; 1 does nothing.
    pub repetition_penalty: f32,
}

impl SamplingParams {
    /// The likeliest token, always.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
    };

    /// As the paper's evaluation samples (Chung et al. 2025, appendix).
    pub const PAPER: Self = Self {
        temperature: 1.0,
        top_k: 50,
        top_p: 0.95,
        min_p: 0.0,
        repetition_penalty: 1.1,
    };

    /// Bends logits in the order of transformers' processors: repetition, temperature, top-k, top-p,
    /// min-p. Tokens that are out get minus infinity. `text` is prompt and answer so far.
    pub fn process_logits(&self, logits: &mut [f32], text: &[u32]) {
        penalize(logits, text, self.repetition_penalty);
        if self.temperature == 0.0 {
            return;
        }
        for logit in logits.iter_mut() {
            *logit /= self.temperature;
        }
        keep_top_k(logits, self.top_k);
        keep_top_p(logits, self.top_p);
        keep_min_p(logits, self.min_p);
    }

    /// The next token of a text.
    pub fn next(&self, logits: &mut [f32], text: &[u32], random: &mut SplitMix64) -> u32 {
        self.process_logits(logits, text);
        if self.temperature == 0.0 {
            return argmax(logits);
        }
        sample(logits, random.next_f64())
    }
}

/// Divides the logits of tokens that stand in the text by `penalty`, or multiplies those below zero
/// (Keskar et al. 2019; transformers: `RepetitionPenaltyLogitsProcessor`). Each token once.
pub fn penalize(logits: &mut [f32], text: &[u32], penalty: f32) {
    if penalty == 1.0 {
        return;
    }
    let mut tokens = text.to_vec();
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

/// Keeps the `k` largest logits, and those equal to the smallest of them (transformers:
/// `TopKLogitsWarper`).
pub fn keep_top_k(logits: &mut [f32], k: usize) {
    if k == 0 || k >= logits.len() {
        return;
    }
    let mut sorted = logits.to_vec();
    let (_, least, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let least = *least;
    for logit in logits {
        if *logit < least {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Keeps the likeliest tokens whose share together reaches `p` (Holtzman et al. 2020; transformers:
/// `TopPLogitsWarper`): from the least likely up, tokens go while their shares add up to at most
/// 1 - p. One always stays.
pub fn keep_top_p(logits: &mut [f32], p: f32) {
    if p >= 1.0 {
        return;
    }
    let mut order: Vec<usize> = (0..logits.len())
        .filter(|&token| logits[token] > f32::NEG_INFINITY)
        .collect();
    order.sort_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)));
    let shares = shares(logits);
    let mut sum = 0.0;
    order.pop();
    for token in order {
        sum += shares[token];
        if sum > 1.0 - p {
            break;
        }
        logits[token] = f32::NEG_INFINITY;
    }
}

/// Keeps tokens at least `p` times as likely as the likeliest (transformers: `MinPLogitsWarper`).
pub fn keep_min_p(logits: &mut [f32], p: f32) {
    if p <= 0.0 {
        return;
    }
    let shares = shares(logits);
    let least = p * shares.iter().copied().fold(0.0, f32::max);
    for (logit, share) in logits.iter_mut().zip(shares) {
        if share < least {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// The softmax of logits.
fn shares(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut shares: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = shares.iter().sum();
    for share in &mut shares {
        *share /= sum;
    }
    shares
}

/// The token of the largest logit, the first of equals.
fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best as u32
}

/// The token in whose stretch of the shares, one after another, `unit` falls.
fn sample(logits: &[f32], unit: f64) -> u32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| f64::from((logit - most).exp());
    let bar = unit * logits.iter().map(weight).sum::<f64>();
    let mut sum = 0.0;
    for (token, logit) in logits.iter().enumerate() {
        sum += weight(logit);
        if sum > bar {
            return token as u32;
        }
    }
    argmax(logits)
}
