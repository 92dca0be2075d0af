//! External tests, on data and models outside the repository. A test whose input is missing is reported as
//! ignored, with the reason.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

#[path = "../support/embeddings.rs"]
mod embeddings;
mod gemma3;
mod minilm;
#[path = "../support/program.rs"]
mod program;
mod replication;
#[path = "../support/reports.rs"]
mod reports;
mod stories;
mod terms;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// The reason why a test is ignored: an input that is missing.
pub(crate) struct Missing(String);

type Test = fn() -> Result<(), Missing>;

const TESTS: [(&str, Test); 9] = [
    (
        "gemma3::token_ids_equal_those_of_transformers",
        gemma3::token_ids_equal_those_of_transformers,
    ),
    (
        "gemma3::greedy_text_equals_that_of_transformers",
        gemma3::greedy_text_equals_that_of_transformers,
    ),
    (
        "gemma3::a_step_equals_that_of_pytorch",
        gemma3::a_step_equals_that_of_pytorch,
    ),
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
    (
        "stories::reposts_are_one_prompt",
        stories::reposts_are_one_prompt,
    ),
    (
        "terms::people_against_people_have_no_overused_term",
        terms::people_against_people_have_no_overused_term,
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

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file or folder of the shared data, next to the repository.
fn shared(path: &str) -> Result<PathBuf, Missing> {
    let shared = root().join("../shared").join(path);
    if shared.exists() {
        Ok(shared)
    } else {
        Err(Missing(format!("there is no ../shared/{path}")))
    }
}
