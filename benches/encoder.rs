//! Speed of an encoder layer by operation: `cargo bench --bench encoder`.
//!
//! One layer in the shape of all-MiniLM-L6-v2 on 32 texts of 256 tokens, operation by operation, on the kernels
//! that `model/encoder/fused.rs` puts together. Throughput is in multiply-adds, as elements.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use polyphony_model::kernel::attention::attention;
use polyphony_model::kernel::gelu::bias_gelu;
use polyphony_model::kernel::matmul::{Accumulate, Matrix, Threads, matmul};
use polyphony_model::kernel::norm::{LayerNormParams, bias_residual_norm};

const TEXTS: usize = 32;
const LENGTH: usize = 256;
const WIDTH: usize = 384;
const INNER: usize = 1536;
const HEADS: usize = 12;

/// Pseudorandom values between -1 and 1, the same in every run.
fn values(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| (i.wrapping_mul(2_654_435_761) % 1000) as f32 / 500.0 - 1.0)
        .collect()
}

fn bench(criterion: &mut Criterion) {
    let tokens = TEXTS * LENGTH;
    let mut group = criterion.benchmark_group("encoder layer");
    group.sample_size(20);
    let products = [
        ("qkv", WIDTH, 3 * WIDTH),
        ("out", WIDTH, WIDTH),
        ("up", WIDTH, INNER),
        ("down", INNER, WIDTH),
    ];
    for (name, depth, width) in products {
        let (x, weight) = (values(tokens * depth), values(width * depth));
        let mut out = vec![0.0; tokens * width];
        group.throughput(Throughput::Elements((tokens * depth * width) as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let x = Matrix::new(black_box(&x), tokens, depth, depth);
                let weight = Matrix::new(&weight, width, depth, depth).transposed();
                matmul(
                    &mut out,
                    width,
                    Accumulate::No,
                    1.0,
                    x,
                    weight,
                    Threads::All,
                );
            });
        });
    }
    let qkv = values(tokens * 3 * WIDTH);
    let mut mixed = vec![0.0; tokens * WIDTH];
    group.throughput(Throughput::Elements((2 * tokens * LENGTH * WIDTH) as u64));
    group.bench_function("attention", |bencher| {
        bencher.iter(|| attention(black_box(&qkv), &[LENGTH; TEXTS], HEADS, &mut mixed));
    });
    let (bias, flat, one) = (values(WIDTH), vec![0.0; INNER], vec![1.0; WIDTH]);
    // Large values: GELU is close to the identity there, so that repeated runs in place hardly change them.
    let mut raised: Vec<f32> = values(tokens * INNER).iter().map(|x| x + 8.0).collect();
    group.throughput(Throughput::Elements((tokens * INNER) as u64));
    group.bench_function("bias and gelu", |bencher| {
        bencher.iter(|| bias_gelu(black_box(&mut raised), &flat));
    });
    let norm = LayerNormParams {
        weight: &one,
        bias: &bias,
        eps: 1e-12,
    };
    let residual = values(tokens * WIDTH);
    group.throughput(Throughput::Elements((tokens * WIDTH) as u64));
    group.bench_function("bias, residual and norm", |bencher| {
        bencher.iter(|| bias_residual_norm(&mut mixed, &bias, black_box(&residual), norm));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
