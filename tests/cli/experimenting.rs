//! `polyphony experiment`: help, the plan, and the errors of experiment files.

use super::{Transcript, printed, write};

/// An experiment of two conditions over a store that is not there; `more` is appended.
fn experiment(head: &str, more: &str) -> String {
    format!(
        "model = 'tiny'\nstore = 'store'\nseeds = [1, 2]\n{head}\n\
         [[condition]]\nname = 'sft'\nmethod = 'sft'\nseeds = [1]\n\
         [[condition]]\nname = 'dpo'\nmethod = 'dpo'\nadapter = 'sft'\n{more}\n"
    )
}

#[test]
fn help_of_experiment() {
    insta::assert_snapshot!(printed(&[&["experiment", "--help"]]));
}

#[test]
fn plan_of_an_experiment() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::of(&folder);
    let more = "[[condition]]\nname = 'ddpo'\nmethod = 'ddpo'\nadapter = 'sft'\n\
                [[condition]]\nname = 'divpo'\nmethod = 'dpo'\nadapter = 'sft'\npairs.strategy = 'divpo'\n\
                [[condition]]\nname = 'verbalized'\nseeds = [1]\ngenerate.prompting = 'verbalized'\n\
                [reward]\nmax_steps = 9\n\
                [train]\nmax_length = 64\n[train.sft]\nmax_steps = 5\n\
                [small]\nmodel = 'tinier'\nseeds = [3]\n[small.train.sft]\nmax_steps = 1";
    let head = "varies = ['method', 'pairs.strategy', 'generate.prompting']";
    write(&folder, "main.toml", &experiment(head, more));
    transcript.run(&["experiment", "main.toml", "--out", "out", "--dry-run"]);
    transcript.run(&[
        "experiment",
        "main.toml",
        "--out",
        "out",
        "--dry-run",
        "--small",
        "--device",
        "cpu",
    ]);
    insta::assert_snapshot!(transcript.text);
}

#[test]
fn experiments_that_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::of(&folder);
    let condition = |name: &str, more: &str| {
        format!("[[condition]]\nname = '{name}'\nmethod = 'ddpo'\nadapter = 'sft'\n{more}")
    };
    for (name, text) in [
        (
            "no_conditions",
            "model = 'tiny'\nstore = 'store'".to_owned(),
        ),
        ("unknown_field", experiment("flavour = 1", "")),
        ("unknown_option", experiment("", "train.learning_speed = 1")),
        ("out_of_bounds", experiment("", "train.beta = -1")),
        (
            "wrong_type",
            experiment("seeds = 'all'", "").replace("seeds = [1, 2]\n", ""),
        ),
        (
            "no_store",
            experiment("", "").replace("store = 'store'", ""),
        ),
        ("reserved", experiment("", "train.seed = 1")),
        ("own_prompts", experiment("", "generate.limit = 1")),
        ("one_name", experiment("", &condition("dpo", ""))),
        ("no_file_name", experiment("", &condition("a/b", ""))),
        (
            "no_start",
            experiment("", "").replace("adapter = 'sft'", "adapter = 'other'"),
        ),
        (
            "undeclared",
            experiment(
                "varies = ['method']",
                &condition("ddpo", "train.beta = 0.2"),
            ),
        ),
        (
            "undeclared_default",
            experiment(
                "varies = ['adapter']",
                "[[condition]]\nname = 'orpo'\nmethod = 'orpo'",
            ),
        ),
        ("needless", experiment("varies = ['train.beta']", "")),
        (
            "same",
            experiment(
                "",
                "[[condition]]\nname = 'again'\nmethod = 'dpo'\nadapter = 'sft'",
            ),
        ),
        (
            "seeds",
            experiment("", &condition("ddpo", "seeds = [1, 1]")),
        ),
    ] {
        let file = format!("{name}.toml");
        write(&folder, &file, &text);
        transcript.run(&["experiment", &file, "--out", "out"]);
    }
    write(&folder, "main.toml", &experiment("", ""));
    transcript.run(&["experiment", "main.toml", "--out", "out", "--small"]);
    transcript.run(&["experiment", "absent.toml", "--out", "out"]);
    insta::assert_snapshot!(transcript.text);
}

#[test]
fn the_papers_experiments_are_planned() {
    let folder = tempfile::tempdir().unwrap();
    let experiments = concat!(env!("CARGO_MANIFEST_DIR"), "/trainer/experiments");
    let mut files = 0;
    for entry in std::fs::read_dir(experiments).unwrap() {
        let file = entry.unwrap().path().display().to_string();
        for variant in [&["--dry-run"][..], &["--dry-run", "--small"]] {
            let mut transcript = Transcript::of(&folder);
            transcript.run(&[&["experiment", &file, "--out", "out"], variant].concat());
            assert!(transcript.text.contains("exit 0"), "{}", transcript.text);
            assert!(
                transcript.text.contains("# train DPO"),
                "{}",
                transcript.text
            );
        }
        files += 1;
    }
    assert_eq!(files, 2);
}
