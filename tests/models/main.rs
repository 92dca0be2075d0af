//! Model tests through the command line: embedding, generation, training, evaluation; kill and resume.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod embed;
#[path = "../support/embeddings.rs"]
mod embeddings;
mod experiment;
mod fields;
mod generate;
mod long_texts;
mod outputs;
mod report;
#[path = "../support/reports.rs"]
mod reports;
mod reward;
mod runs;
#[path = "../support/mod.rs"]
mod support;
mod terms;
mod train;
mod verify;
mod watch;
mod weights;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of a small model of the fixtures.
fn model(name: &str) -> PathBuf {
    root().join(format!("tests/fixtures/models/{name}/model"))
}
