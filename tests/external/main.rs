//! Tests on data and models that are not in the tree: one whose input is missing is counted as ignored,
//! with the reason.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

#[path = "../support/embeddings.rs"]
mod embeddings;
mod minilm;
#[path = "../support/program.rs"]
mod program;
mod replication;
#[path = "../support/reports.rs"]
mod reports;
mod stories;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// What a test needs and is not there.
pub(crate) struct Missing(String);

type Test = fn() -> Result<(), Missing>;

const TESTS: [(&str, Test); 4] = [
    (
        "minilm::embeddings_equal_those_of_sentence_transformers",
        minilm::embeddings_equal_those_of_sentence_transformers,
    ),
    (
        "minilm::pairs_of_real_stories_are_weighted",
        minilm::pairs_of_real_stories_are_weighted,
    ),
    (
        "replication::measures_equal_the_published_values",
        replication::measures_equal_the_published_values,
    ),
    (
        "stories::dumps_give_the_rows_of_truth_json",
        stories::dumps_give_the_rows_of_truth_json,
    ),
];

fn main() -> ExitCode {
    let trials = TESTS.map(|(name, test)| {
        Trial::ignorable_test(name, move || match test() {
            Ok(()) => Ok::<_, Failed>(Completion::Completed),
            Err(Missing(reason)) => Ok(Completion::ignored_with(reason)),
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file or folder of the data that lies beside the tree.
fn shared(path: &str) -> Result<PathBuf, Missing> {
    let found = root().join("../shared").join(path);
    if found.exists() {
        Ok(found)
    } else {
        Err(Missing(format!("there is no ../shared/{path}")))
    }
}
