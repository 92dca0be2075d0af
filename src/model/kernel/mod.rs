//! CPU kernels on slices of f32, one per file.
//!
//! Each loop is compiled for AVX-512, AVX2 and the baseline instruction set; the best one is chosen at run
//! time ([`pulp`]).

#![expect(
    clippy::inline_always,
    reason = "the loops are compiled anew for every instruction set"
)]

pub mod attention;
pub mod exp;
pub mod gelu;
pub mod masked_softmax;
pub mod matmul;
pub mod norm;
pub mod rotary;
pub mod skinny_gemm;
pub mod softmax;
pub mod vector;
