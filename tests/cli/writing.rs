//! `polyphony generate`: help, and the errors of models, prompts and options.

use std::path::Path;

use super::{Transcript, printed, write};

#[test]
fn help_of_generate() {
    insta::assert_snapshot!(printed(&[&["generate", "--help"]]));
}

/// Arguments of `generate` that are errors.
const UNWRITABLE: [&[&str]; 17] = [
    &["--model", "absent", "--prompts", "prompts.jsonl"],
    &["--model", "encoder", "--prompts", "prompts.jsonl"],
    &["--model", "llama", "--prompts", "absent.jsonl"],
    &["--model", "llama", "--prompts", "empty.jsonl"],
    &["--model", "llama", "--prompts", "other.jsonl"],
    &["--model", "llama", "--prompts", "noise.jsonl"],
    &["--model", "llama", "--prompts", "long.jsonl"],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--split",
        "train",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--skip",
        "1",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--adapter",
        "absent",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--adapter",
        "of_mistral",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--no-merge",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--top-p",
        "2",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--temperature",
        "-1",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--samples",
        "0",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--device",
        "cuda:0",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--out",
        "there.jsonl",
    ],
];

#[test]
fn texts_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::of(&folder);
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    for (name, target) in [
        ("llama", "llama/model"),
        ("encoder", "minilm_bert/model"),
        ("of_mistral", "mistral/adapter"),
    ] {
        std::os::unix::fs::symlink(models.join(target), folder.path().join(name)).unwrap();
    }
    let write = |name: &str, text: &str| write(&folder, name, text);
    write(
        "prompts.jsonl",
        "{\"prompt\":\"A king melts.\",\"split\":\"test\"}\n",
    );
    write("other.jsonl", "{\"x\":1}\n");
    write("noise.jsonl", "what\n");
    write("empty.jsonl", "");
    write("there.jsonl", "mine\n");
    let long = "word ".repeat(20_000);
    write(
        "long.jsonl",
        &format!("{{\"prompt\":\"{long}\",\"prompt_id\":7}}\n"),
    );
    for words in UNWRITABLE {
        let out: &[&str] = if words.contains(&"--out") {
            &[]
        } else {
            &["--out", "out.jsonl"]
        };
        transcript.run(&[&["generate"], words, out].concat());
    }
    assert!(
        !folder.path().join("out.jsonl").exists(),
        "{}",
        transcript.text
    );
    insta::assert_snapshot!(transcript.text);
}
