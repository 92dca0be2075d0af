//! `polyphony embed` with transformer models: files, stores, models from the hub, resuming after a kill.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::embeddings::{assert_near, expected, lines, rows, vectors};
use super::model;
use super::support::{bytes, done, dump, polyphony, query, run, text};

#[test]
fn embedding_a_column_of_a_file_leaves_the_other_columns_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let expected = expected("tests/fixtures/models/minilm_bert/expected.json");
    fs::write(at("stories.jsonl"), lines(&expected)).unwrap();
    let embed = |file: &str, out: &str| {
        let model = model("minilm_bert");
        let (file, out) = (at(file), at(out));
        let args = [
            "embed",
            text(&file),
            "--column",
            "story",
            "--model",
            text(&model),
            "--out",
            text(&out),
        ];
        let output = run(&args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        (rows(&out), stderr)
    };
    let (embedded, stderr) = embed("stories.jsonl", "a.parquet");
    assert_eq!(embedded.num_columns(), 3);
    assert!(
        stderr.contains("embedded 16 texts with model: 1178 tokens"),
        "{stderr}"
    );
    assert!(
        stderr.contains(" of 16 texts are longer than the 100 tokens of model, which saw "),
        "{stderr}"
    );
    assert_near(&vectors(&embedded), &expected, 2e-5);
    let field = embedded
        .schema()
        .field_with_name("embedding")
        .unwrap()
        .clone();
    assert_eq!(field.metadata()["model"], "model");
    assert_eq!(field.metadata()["revision"].len(), 16);
    // Parquet input gives the same embeddings, and no temporary files remain.
    fs::rename(at("a.parquet"), at("b.parquet")).unwrap();
    done(&[
        "sql",
        "-c",
        &format!(
            "COPY (SELECT number, story FROM '{}') TO '{}'",
            text(&at("b.parquet")),
            text(&at("c.parquet"))
        ),
    ]);
    let (again, _) = embed("c.parquet", "d.parquet");
    assert_eq!(vectors(&again), vectors(&embedded));
    assert!(!at("d.parts").exists());
    // Rows without a text remain, with a null embedding.
    fs::write(at("gap.csv"), "story,number\none,1\n,2\nthree,3\n").unwrap();
    let (gap, _) = embed("gap.csv", "e.parquet");
    let missing: Vec<bool> = vectors(&gap).iter().map(Option::is_none).collect();
    assert_eq!(missing, [false, true, false]);
}

#[test]
fn pairs_are_weighted_with_transformer_embeddings() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    dump(&folder.path().join("dump"), 12);
    done(&[
        "ingest",
        text(&folder.path().join("dump")),
        "--store",
        text(&store),
    ]);
    let (semantic, style) = (model("jina_v3"), model("style_roberta"));
    let args = [
        "pairs",
        "--store",
        text(&store),
        "--semantic",
        text(&semantic),
        "--style",
        text(&style),
    ];
    let output = run(&args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr.matches("CC-BY-NC-4.0").count(), 1, "{stderr}");
    let summary = String::from_utf8(output.stdout).unwrap();
    let tables = query(
        &store,
        "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'embeddings%' ORDER BY 1",
    );
    let tables: Vec<&str> = tables.lines().skip(1).collect();
    assert_eq!(tables.len(), 2, "{tables:?}");
    // Both folders are named `model`: the revision, a hash of the weights, distinguishes them.
    let revision = |space: &str| {
        let start = format!("{space}: model, revision ");
        let line = summary.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {space} in {summary}"))
            .to_owned()
    };
    let dimension = |revision: &str| {
        let table = tables.iter().find(|table| table.ends_with(&revision[..8]));
        let table = table.unwrap_or_else(|| panic!("no table of {revision} in {tables:?}"));
        let sql = format!("SELECT max(array_length(vector)) AS n FROM {table}");
        query(&store, &sql).lines().nth(1).unwrap().to_owned()
    };
    let (jina, roberta) = (revision("semantic"), revision("style"));
    assert_ne!(jina, roberta);
    assert_eq!(dimension(&jina), "64");
    assert_eq!(dimension(&roberta), "48");
    let weights = query(
        &store,
        "SELECT count(*) > 0 AS a, count(*) = count(deviation_semantic) AS b, \
         count(*) = count(deviation_style) AS c, \
         max(abs(deviation_semantic - deviation_style)) > 0 AS d FROM weights",
    );
    assert!(weights.ends_with("\ntrue,true,true,true\n"), "{weights}");
    // Texts with an embedding are not embedded again.
    let output = run(&args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("embedded "), "{stderr}");
    // `embed` does not embed them again either, only the other texts of the store.
    let total: usize = query(&store, "SELECT count(DISTINCT text) AS n FROM responses")
        .lines()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let before: usize = query(&store, &format!("SELECT count(*) AS n FROM {}", tables[0]))
        .lines()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let stdout = done(&["embed", "--store", text(&store), "--model", text(&style)]);
    assert!(
        stdout.starts_with(&format!(
            "{} new vectors, {total} in total, ",
            total - before
        )),
        "{stdout} {before}"
    );
}

#[test]
fn a_killed_run_loses_at_most_one_shard() {
    let folder = tempfile::tempdir().unwrap();
    let dumps = folder.path().join("dump");
    dump(&dumps, 300);
    let ingest = |name: &str| {
        let store = folder.path().join(name);
        done(&["ingest", text(&dumps), "--store", text(&store)]);
        store
    };
    let style = model("style_roberta");
    let args = |store: &Path| -> Vec<String> {
        let args = [
            "embed",
            "--store",
            text(store),
            "--model",
            text(&style),
            "--shard-size",
            "150",
        ];
        args.map(str::to_owned).to_vec()
    };
    let uninterrupted = ingest("calm");
    let start = Instant::now();
    assert!(
        polyphony()
            .args(args(&uninterrupted))
            .output()
            .unwrap()
            .status
            .success()
    );
    let duration = start.elapsed();
    let expected = bytes(&uninterrupted);
    let mut random = super::support::Random::from_clock();
    let mut kills = 0;
    for round in 0..3 {
        let store = ingest(&format!("stormy{round}"));
        let delay = duration.mul_f64(0.5 * random.next_f64());
        kills += super::support::kill_until_done(&args(&store), delay, duration / 10);
        assert_eq!(bytes(&store), expected, "round {round}, {random:?}");
    }
    assert!(kills > 2, "only {kills} runs were killed");
    // The same test for a file.
    let file = folder.path().join("stories.parquet");
    let copy = format!(
        "COPY (SELECT response_id, text FROM responses ORDER BY 1) TO '{}'",
        text(&file)
    );
    done(&["sql", "--store", text(&uninterrupted), "-c", &copy]);
    let args = |out: &Path| -> Vec<String> {
        let args = [
            "embed",
            text(&file),
            "--column",
            "text",
            "--model",
            text(&style),
            "--shard-size",
            "150",
            "--out",
            text(out),
        ];
        args.map(str::to_owned).to_vec()
    };
    let uninterrupted = folder.path().join("calm.parquet");
    assert!(
        polyphony()
            .args(args(&uninterrupted))
            .output()
            .unwrap()
            .status
            .success()
    );
    let killed = folder.path().join("stormy.parquet");
    let delay = duration.mul_f64(0.5 * random.next_f64());
    assert!(super::support::kill_until_done(&args(&killed), delay, duration / 10) > 0);
    // The counts of the manifest are those of all shards.
    for end in ["parquet", "embedding.json"] {
        assert_eq!(
            fs::read(uninterrupted.with_extension(end)).unwrap(),
            fs::read(killed.with_extension(end)).unwrap(),
            "{end}, {random:?}"
        );
    }
}

#[test]
fn models_come_from_the_hub_and_then_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("texts.csv");
    fs::write(&file, "story\none\ntwo\n").unwrap();
    let names = [
        "config.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "1_Pooling/config.json",
    ];
    let files = names.map(|name| (name, fs::read(model("minilm_bert").join(name)).unwrap()));
    let endpoint = super::support::hub("ann/tiny", files.to_vec());
    let embed = |model: &str, endpoint: &str, token: &str, offline: &str| {
        polyphony()
            .env("HF_ENDPOINT", endpoint)
            .env("HF_HOME", folder.path().join("cache"))
            .env("HF_TOKEN", token)
            .env("HF_HUB_OFFLINE", offline)
            .args(["embed", text(&file), "--column", "story", "--model", model])
            .output()
            .unwrap()
    };
    let refusal = |output: std::process::Output| {
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        stderr
    };
    let stderr = refusal(embed("ann/tiny", &endpoint, "", "1"));
    assert!(
        stderr.contains("hub:ann/tiny: is not in the cache"),
        "{stderr}"
    );
    let stderr = refusal(embed("ann/tiny", &endpoint, "", ""));
    assert!(stderr.contains("set HF_TOKEN"), "{stderr}");
    let stderr = refusal(embed("ann/gone", &endpoint, "secret", ""));
    assert!(
        stderr.contains("hub:ann/gone: cannot be fetched"),
        "{stderr}"
    );
    assert!(
        embed("ann/tiny@v2", &endpoint, "secret", "")
            .status
            .success()
    );
    let out = folder.path().join("texts.embedded.parquet");
    let first = rows(&out);
    let field = first.schema().field_with_name("embedding").unwrap().clone();
    assert_eq!(field.metadata()["model"], "ann/tiny");
    assert_eq!(field.metadata()["revision"], "c0ffee");
    // Hub unreachable, or HF_HUB_OFFLINE set: the cached model is used.
    for (endpoint, offline) in [("http://127.0.0.1:9", ""), (endpoint.as_str(), "1")] {
        fs::remove_file(&out).unwrap();
        let output = embed("ann/tiny@v2", endpoint, "secret", offline);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(rows(&out), first);
    }
}

#[test]
fn sql_embeds_with_transformer_models() {
    let model = model("minilm_bert");
    let query = format!(
        "SELECT story, deviation(embed(story, '{0}')) OVER () > 0.0 AS far, \
         cosine_distance(embed(story, '{0}'), embed(story, '{0}')) < 1e-6 AS same \
         FROM (VALUES ('one'), (NULL), ('two stories')) AS t (story)",
        text(&model)
    );
    let csv = done(&["sql", "--format", "csv", "-c", &query]);
    assert_eq!(
        csv,
        "story,far,same\none,true,true\n,,\ntwo stories,true,true\n"
    );
}
