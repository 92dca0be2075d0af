//! Attention kernel: bidirectional softmax attention of packed texts.

use std::ops::Range;

use rayon::prelude::*;

use super::matmul::{Accumulate, Matrix, Threads, matmul};
use super::softmax::softmax;

/// Queries per rayon task: few enough that their scores stay in the CPU cache.
const QUERIES_PER_TASK: usize = 128;

/// Softmax attention of every token to all tokens of its own text, without padding
/// (PyTorch: `scaled_dot_product_attention`, text by text).
///
/// `qkv` has shape (T, 3H), one row `[q | k | v]` per token, with `heads` heads each; `lengths` are the
/// texts' numbers of tokens, T in total; `out` has shape (T, H).
pub fn attention(qkv: &[f32], lengths: &[usize], heads: usize, out: &mut [f32]) {
    let tokens: usize = lengths.iter().sum();
    let width = out.len().checked_div(tokens).unwrap_or(0);
    let mut tasks: Vec<(Range<usize>, Range<usize>, &mut [f32])> = Vec::new();
    let mut rest = out;
    let mut start = 0;
    for &length in lengths {
        let text = start..start + length;
        for from in text.clone().step_by(QUERIES_PER_TASK) {
            let queries = from..(from + QUERIES_PER_TASK).min(text.end);
            let (rows, after) = rest.split_at_mut(queries.len() * width);
            tasks.push((text.clone(), queries, rows));
            rest = after;
        }
        start += length;
    }
    tasks
        .into_par_iter()
        .for_each_init(Vec::new, |scores, (text, queries, rows)| {
            scores.resize(queries.len() * text.len(), 0.0);
            for head in 0..heads {
                one_head(qkv, &text, &queries, heads, head, scores, rows);
            }
        });
}

/// Attention of one head: the output of `queries` over all tokens of `text`, written to the head's columns of
/// `rows`.
fn one_head(
    qkv: &[f32],
    text: &Range<usize>,
    queries: &Range<usize>,
    heads: usize,
    head: usize,
    scores: &mut [f32],
    rows: &mut [f32],
) {
    let width = rows.len() / queries.len();
    let size = width / heads;
    let stride = 3 * width;
    let part = |which: usize, tokens: &Range<usize>| {
        let from = tokens.start * stride + which * width + head * size;
        Matrix::new(&qkv[from..], tokens.len(), size, stride)
    };
    let (q, k, v) = (part(0, queries), part(1, text), part(2, text));
    let scale = 1.0 / (size as f32).sqrt();
    matmul(
        scores,
        text.len(),
        Accumulate::No,
        scale,
        q,
        k.transposed(),
        Threads::One,
    );
    softmax(scores, text.len());
    let scores = Matrix::new(scores, queries.len(), text.len(), text.len());
    matmul(
        &mut rows[head * size..],
        width,
        Accumulate::No,
        1.0,
        scores,
        v,
        Threads::One,
    );
}

#[cfg(test)]
mod tests {
    use super::attention;

    /// Reference implementation by the definition, in f64, one token at a time.
    fn reference(qkv: &[f32], lengths: &[usize], heads: usize, width: usize) -> Vec<f64> {
        let size = width / heads;
        let value = |token: usize, which: usize, head: usize, i: usize| {
            f64::from(qkv[token * 3 * width + which * width + head * size + i])
        };
        let mut out = vec![0.0; lengths.iter().sum::<usize>() * width];
        let mut start = 0;
        for &length in lengths {
            for query in start..start + length {
                for head in 0..heads {
                    let scores: Vec<f64> = (start..start + length)
                        .map(|key| {
                            let dot: f64 = (0..size)
                                .map(|i| value(query, 0, head, i) * value(key, 1, head, i))
                                .sum();
                            (dot / (size as f64).sqrt()).exp()
                        })
                        .collect();
                    let sum: f64 = scores.iter().sum();
                    for (key, score) in scores.iter().enumerate() {
                        for i in 0..size {
                            out[query * width + head * size + i] +=
                                score / sum * value(start + key, 2, head, i);
                        }
                    }
                }
            }
            start += length;
        }
        out
    }

    #[test]
    fn a_token_attends_to_its_own_text_only() {
        let (heads, width) = (2, 12);
        let lengths = [3, 1, 130, 64];
        let tokens: usize = lengths.iter().sum();
        let qkv: Vec<f32> = (0..tokens * 3 * width)
            .map(|i| ((i * 2_654_435_761_usize) % 1000) as f32 / 500.0 - 1.0)
            .collect();
        let mut actual = vec![0.0; tokens * width];
        attention(&qkv, &lengths, heads, &mut actual);
        for (actual, expected) in actual.iter().zip(reference(&qkv, &lengths, heads, width)) {
            assert!((f64::from(*actual) - expected).abs() < 1e-6);
        }
    }
}
