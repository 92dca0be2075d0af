//! Which inner loops run on the CPU? Pure maths on slices of f32, a file each.
//!
//! Each loop is compiled for AVX-512, AVX2 and the plain machine; the one that fits is chosen when
//! it runs ([`pulp`]).

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
