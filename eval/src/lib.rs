//! Evaluation of language-model outputs: measures of diversity and reward, statistics, reports and human
//! studies.
//!
//! [`run::run`] is `polyphony eval`: it reads [`outputs`], selects an equal number of texts
//! ([`subsample`]), computes their [`embeddings`] and [`rewards`], evaluates every model and prompt
//! ([`evaluation`], [`measures`]), compares models ([`summary`], [`compare`], [`stats`]) and writes the
//! [`report`]; [`verify`] makes a report again and compares. [`study`] is
//! `polyphony study`. [`functions`] are the SQL functions.

pub mod compare;
pub mod config;
pub mod cosines;
pub mod embeddings;
pub mod evaluation;
pub mod functions;
pub mod measures;
pub mod outputs;
pub mod report;
pub mod rewards;
pub mod run;
mod shared_embedder;
pub mod space;
pub mod stats;
pub mod study;
pub mod subsample;
pub mod summary;
pub mod text;
pub mod verify;
