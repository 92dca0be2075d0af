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

/// Options of adapter scales, verbalized sampling and requests for an API that are errors.
const UNUSABLE: [&[&str]; 16] = [
    &["--adapter-scale", "0.5"],
    &["--adapter", "of_llama", "--adapter-scale", "0.5,-1"],
    &["--adapter", "of_llama", "--adapter-scale", "11"],
    &["--adapter", "of_llama", "--adapter-scale", "0.5,half"],
    &["--adapter", "of_llama", "--adapter-scale", "1,0.5,1.0"],
    &["--answers", "2"],
    &["--max-probability", "0.1"],
    &["--prompting", "verbalized", "--answers", "3"],
    &["--prompting", "verbalized", "--max-probability", "0"],
    &["--prompting", "iterative"],
    &["--single-choice"],
    &["--request-field", "n=1"],
    &["--write-requests", "requests.jsonl", "--request-field", "n"],
    &["--write-requests", "requests.jsonl", "--device", "cuda:0"],
    &["--write-requests", "there.jsonl"],
    &["--read-responses", "other.jsonl"],
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
        ("of_llama", "llama/adapter"),
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
    let common = ["generate", "--model", "llama", "--prompts", "prompts.jsonl"];
    let out = ["--out", "out.jsonl"];
    for words in UNUSABLE {
        let out: &[&str] = if words.contains(&"--write-requests") {
            &[]
        } else {
            &out
        };
        transcript.run(&[&common[..], words, out].concat());
    }
    transcript.run(&common);
    assert!(
        !folder.path().join("out.jsonl").exists(),
        "{}",
        transcript.text
    );
    insta::assert_snapshot!(transcript.text);
}
