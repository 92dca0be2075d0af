//! Texts that are longer than an embedder's maximum: counted where they are truncated, or embedded in windows
//! (`--long-texts mean`), in `embed`, SQL, `pairs`, `weigh` and `eval`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::embeddings::{assert_near, expected, lines, rows, vectors};
use super::report::{rows as outputs, write};
use super::reports::report;
use super::support::{bytes, done, dump, query, run, text};
use super::{model, root};

/// Runs a command that must succeed; returns stdout and stderr.
fn both(args: &[&str]) -> (String, String) {
    let output = run(args);
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{stderr}");
    (stdout, stderr)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The golden rows of `tests/peers/long_texts.py` for a model, in the layout of the other golden files.
fn golden(name: &str) -> Value {
    let mut golden = expected("tests/fixtures/long_texts.json")[name].clone();
    for row in golden["rows"].as_array_mut().unwrap() {
        row["unit"] = row["vector"].clone();
    }
    golden
}

#[test]
fn files_are_embedded_in_windows_and_have_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let golden = golden("minilm_bert");
    fs::write(at("stories.jsonl"), lines(&golden)).unwrap();
    let (file, tiny) = (at("stories.jsonl"), model("minilm_bert"));
    let embed = |out: &Path, more: &[&str]| {
        let args = [
            "embed",
            text(&file),
            "--column",
            "story",
            "--model",
            text(&tiny),
        ];
        both(&[&args[..], &["--out", text(out)], more].concat()).1
    };
    let mean = at("mean.parquet");
    let stderr = embed(&mean, &["--long-texts", "mean"]);
    let notice =
        "3 of 6 texts are longer than the 100 tokens of model: their vectors are means of windows.";
    assert!(stderr.contains(notice), "{stderr}");
    let embedded = rows(&mean);
    assert_near(&vectors(&embedded), &golden, 2e-5);
    let field = embedded
        .schema()
        .field_with_name("embedding")
        .unwrap()
        .clone();
    assert!(field.metadata()["revision"].ends_with("-mean"));
    let windows: Vec<u64> = golden["rows"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row["windows"].as_array().unwrap())
        .map(|tokens| tokens.as_u64().unwrap())
        .collect();
    let total: u64 = windows.iter().sum();
    let manifest = json_of(&at("mean.embedding.json"));
    assert_eq!(manifest["long_texts"], "mean");
    assert_eq!(manifest["max_tokens"], 100);
    assert_eq!(
        manifest["tokens"],
        json!({"texts": 6, "tokens": total, "truncated": 0, "truncated_tokens": 0,
            "truncated_tokens_seen": 0, "averaged": 3})
    );
    // Truncation is the default; its vectors are those of the first windows.
    let cut = at("cut.parquet");
    let stderr = embed(&cut, &[]);
    let short = 82 + 98;
    let share = 100.0 * 294.0 / (total - short) as f64;
    let notice = format!(
        "3 of 6 texts are longer than the 100 tokens of model, which saw {share:.1} % of their tokens \
         (--long-texts mean reads whole texts)."
    );
    assert!(stderr.contains(&notice), "{stderr}");
    let manifest = json_of(&at("cut.embedding.json"));
    assert_eq!(manifest["long_texts"], "truncate");
    assert_eq!(manifest["tokens"]["truncated"], 3);
    assert_eq!(manifest["tokens"]["truncated_tokens_seen"], 294);
    assert_eq!(manifest["tokens"]["truncated_tokens"], total - short);
    assert_eq!(manifest["rows"], 6);
    let (mean, cut) = (vectors(&embedded), vectors(&rows(&cut)));
    let are_equal: Vec<bool> = mean.iter().zip(&cut).map(|(a, b)| a == b).collect();
    assert_eq!(are_equal, [true, true, false, false, true, false]);
    // The SQL function gives the same vectors.
    let sql = format!(
        "SELECT max(cosine_distance(embedding, embed(story, '{0}', 'cpu', 'mean'))) < 1e-6 AS mean, \
         max(cosine_distance(embedding, embed(story, '{0}'))) > 1e-3 AS cut FROM '{1}'",
        text(&tiny),
        text(&at("mean.parquet"))
    );
    assert_eq!(
        done(&["sql", "--format", "csv", "-c", &sql]),
        "mean,cut\ntrue,true\n"
    );
}

/// A store with long texts for a model of 24 tokens.
fn store(folder: &Path) -> PathBuf {
    let store = folder.join("store");
    dump(&folder.join("dump"), 6);
    done(&[
        "ingest",
        text(&folder.join("dump")),
        "--store",
        text(&store),
    ]);
    store
}

#[test]
fn a_store_keeps_both_kinds_of_vectors_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let small = model("xlm_roberta");
    let args = ["embed", "--store", text(&store), "--model", text(&small)];
    let (stdout, stderr) = both(&args);
    assert!(
        stdout.starts_with("42 new vectors, 42 in total, "),
        "{stdout}"
    );
    assert!(
        stderr.contains("42 of 42 texts are longer than the 24 tokens of model, which saw "),
        "{stderr}"
    );
    let table = stdout.trim().rsplit(' ').next().unwrap().to_owned();
    let (stdout, stderr) = both(&[&args[..], &["--long-texts", "mean"]].concat());
    assert!(
        stdout.starts_with("42 new vectors, 42 in total, "),
        "{stdout}"
    );
    assert!(
        stdout.trim().ends_with(&format!("{table}_mean")),
        "{stdout}"
    );
    assert!(
        stderr.contains("their vectors are means of windows."),
        "{stderr}"
    );
    // The counts tell the same after a run without new vectors.
    assert!(both(&args).1.contains("42 of 42 texts are longer than"));
    let counts = |table: &str| {
        let sql = format!(
            "SELECT min(tokens_seen) AS a, max(tokens_seen) = 22 AS b, sum(tokens) AS c, max(windows) > 1 AS d, \
             count(DISTINCT revision) AS e FROM {table}"
        );
        let csv = query(&store, &sql);
        let row = csv.lines().nth(1).unwrap().to_owned();
        row.split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    let (cut, mean) = (counts(&table), counts(&format!("{table}_mean")));
    assert_eq!(
        [&cut[0], &cut[1], &cut[3], &cut[4]],
        ["22", "true", "false", "1"]
    );
    assert_eq!([&mean[1], &mean[3], &mean[4]], ["false", "true", "1"]);
    assert_eq!(cut[2], mean[2]);
}

#[test]
fn cards_of_pairs_and_weights_tell_how_much_an_embedder_saw() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let small = model("xlm_roberta");
    let weights = ["--deviation", "semantic", "--semantic", text(&small)];
    let args = [&["pairs", "--store", text(&store)], &weights[..]].concat();
    let start = |stdout: &str| {
        let line = stdout
            .lines()
            .find(|line| line.starts_with("semantic: ") && line.contains(" texts "));
        line.unwrap().to_owned()
    };
    let stdout = done(&args);
    let notice = start(&stdout);
    assert!(
        notice.contains("are longer than the 24 tokens of model, which saw "),
        "{notice}"
    );
    let card = |end: &str| store.join(format!("pairs.{end}"));
    let markdown = fs::read_to_string(card("md")).unwrap();
    assert!(markdown.contains(&format!("\n> {notice}\n")), "{markdown}");
    assert!(
        markdown.contains("## Length of texts, semantic"),
        "{markdown}"
    );
    let tokens = json_of(&card("json"))["tokens"][0].clone();
    assert_eq!(
        (&tokens["space"], &tokens["long_texts"]),
        (&json!("semantic"), &json!("truncate"))
    );
    let sql = "SELECT count(DISTINCT text_hash) AS n FROM scored_responses";
    let scored = query(&store, sql);
    assert_eq!(scored, format!("n\n{}\n", tokens["texts"]));
    assert_eq!(tokens["truncated"], tokens["texts"]);
    let seen = tokens["truncated_tokens_seen"].as_f64().unwrap();
    let share = 100.0 * seen / tokens["truncated_tokens"].as_f64().unwrap();
    assert!(
        notice.contains(&format!("which saw {share:.1} % of their tokens")),
        "{notice}"
    );
    assert_eq!(json_of(&card("json"))["selected_by_embeddings"], false);
    // Means of windows: other deviations, and nothing is truncated.
    let deviations = || {
        query(
            &store,
            "SELECT response_id, deviation_semantic FROM weights ORDER BY 1",
        )
    };
    let truncated = deviations();
    let mean = [&args[..], &["--long-texts", "mean"]].concat();
    let notice = start(&done(&mean));
    assert!(
        notice.ends_with(": their vectors are means of windows."),
        "{notice}"
    );
    assert!(deviations() != truncated);
    let tokens = json_of(&card("json"))["tokens"][0].clone();
    assert_eq!(
        (&tokens["truncated"], &tokens["averaged"]),
        (&json!(0), &tokens["texts"])
    );
    done(&args);
    assert_eq!(deviations(), truncated);
    // DivPO selects pairs by the vectors, whatever loss they are trained with.
    let file = folder.path().join("divpo.parquet");
    done(&[&args[..], &["--strategy", "divpo", "--out", text(&file)]].concat());
    let divpo = json_of(&folder.path().join("divpo.json"));
    assert_eq!(divpo["selected_by_embeddings"], true);
    // `weigh` tells the same of the same texts.
    let (pairs, out) = (card("parquet"), folder.path().join("weighed.jsonl"));
    let plain = folder.path().join("plain.parquet");
    let copy = format!(
        "COPY (SELECT prompt, chosen, rejected FROM '{}') TO '{}'",
        text(&pairs),
        text(&plain)
    );
    done(&["sql", "-c", &copy]);
    let args = [&["weigh", text(&plain), "--out", text(&out)], &weights[..]].concat();
    assert!(start(&done(&args)).contains("% of their tokens"));
    let summary = json_of(&folder.path().join("weighed.weights.json"));
    assert_eq!(
        summary["tokens"][0]["truncated_tokens_seen"].as_f64(),
        Some(seen)
    );
}

#[test]
fn reports_warn_of_truncated_texts() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "a.jsonl", &outputs("a", 0..6, 3));
    let small = model("xlm_roberta");
    let out = folder.path().join("report");
    let args = [
        "eval",
        text(&file),
        "--semantic",
        text(&small),
        "--out",
        text(&out),
    ];
    let (_, stderr) = both(&args);
    let made = report(&out);
    let is_ours = |warning: &&Value| warning.as_str().unwrap().contains("texts are longer");
    let warnings = |report: &Value| -> Vec<Value> {
        let warnings = report["warnings"].as_array().unwrap().iter();
        warnings.filter(is_ours).cloned().collect()
    };
    let ours = warnings(&made);
    assert_eq!(ours.len(), 1, "{ours:?}");
    let warning = ours[0].as_str().unwrap();
    assert!(
        warning.starts_with(
            "semantic: 18 of 18 texts are longer than the 24 tokens of model, which saw "
        ),
        "{warning}"
    );
    assert!(stderr.contains(warning), "{stderr}");
    let space = &made["spaces"]["semantic"];
    assert_eq!(
        (&space["max_tokens"], &space["long_texts"]),
        (&json!(24), &json!("truncate"))
    );
    assert_eq!(space["tokens"]["truncated_tokens_seen"], 18 * 22);
    assert!(made["spaces"]["style"].get("tokens").is_none());
    for name in ["report.md", "report.html"] {
        let page = fs::read_to_string(out.join(name)).unwrap();
        assert!(
            page.contains("texts are longer than the 24 tokens of model"),
            "{name}"
        );
    }
    // A run that reuses the embeddings has the same counts; with another treatment they are made again.
    let before = bytes(&out);
    done(&args);
    assert_eq!(bytes(&out), before);
    done(&[&args[..], &["--long-texts", "mean"]].concat());
    let mean = report(&out);
    assert_eq!(warnings(&mean), Vec::<Value>::new());
    let space = &mean["spaces"]["semantic"];
    assert_eq!(space["long_texts"], "mean");
    assert_eq!(space["tokens"]["averaged"], 18);
    assert!(space["revision"].as_str().unwrap().ends_with("-mean"));
    let value = |report: &Value| report["models"][0]["values"]["semantic"]["mean"].clone();
    assert!(value(&mean) != value(&made));
    assert_eq!(mean["arguments"]["long_texts"], "mean");
    let verified = done(&["eval", "--verify", text(&out)]);
    assert!(verified.contains("values are equal"), "{verified}");
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("semantic by model (long texts: the mean of windows of 24 tokens)"));
    let readme = fs::read_to_string(root().join("eval/README.md")).unwrap();
    let fields = [
        "max_tokens",
        "long_texts",
        "truncated_tokens_seen",
        "averaged",
    ];
    assert!(
        fields
            .iter()
            .all(|field| readme.contains(&format!("`{field}`")))
    );
}
