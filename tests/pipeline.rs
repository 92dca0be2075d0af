//! Pipeline tests, from dumps to pairs: order of inputs, formats, kill and resume, identical bytes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

#[path = "pipeline/faults.rs"]
mod faults;
#[path = "pipeline/hub.rs"]
mod hub;
#[path = "pipeline/ingest.rs"]
mod ingest;
mod support;
#[path = "pipeline/weights.rs"]
mod weights;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;

use support::{bytes, done, dump, polyphony, query, run, text};

/// The rows of a store, independent of the order and the files in which they were read.
fn contents(store: &Path) -> String {
    [
        "SELECT prompt_id, tag, prompt, score, created_at, retrieved_at, split FROM prompts ORDER BY 1",
        "SELECT response_id, prompt_id, text, score, created_at, retrieved_at, author_hash, words \
         FROM responses ORDER BY 1",
        "SELECT source, line, reason, id, text FROM quarantine ORDER BY 1, 2, 3, 4",
    ]
    .map(|sql| query(store, sql))
    .concat()
}

#[test]
fn the_demo_makes_pairs_that_trainers_read() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = done(&["demo", "--out", text(folder.path())]);
    assert!(stdout.contains("19 prompts, 123 responses"), "{stdout}");
    assert!(stdout.contains("weights of the chosen"), "{stdout}");
    let store = folder.path().join("store");
    let file = std::fs::File::open(store.join("pairs.parquet")).unwrap();
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let shown: Vec<String> = reader
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{}: {}", field.name(), field.data_type()))
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
    let card = std::fs::read_to_string(store.join("pairs.md")).unwrap();
    for line in [
        "seed = 42",
        "builtin:words, revision 1",
        "| reply | 33 |",
        "SHA-256",
    ] {
        assert!(card.contains(line), "{line} is not in {card}");
    }
    let unordered = "SELECT count(*) FROM pairs WHERE score_chosen <= score_rejected";
    assert_eq!(query(&store, unordered), "count(*)\n0\n");
    let means = "SELECT max(abs(mean - 1)) < 1e-12 AS one FROM \
                 (SELECT avg(weight) AS mean FROM weights GROUP BY prompt_id)";
    assert_eq!(query(&store, means), "one\ntrue\n");
    // The demo ends with a report on the models that it trained, and on human texts (gold).
    let report = std::fs::read_to_string(folder.path().join("report/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let models = report["models"].as_array().unwrap();
    let names: Vec<&str> = models
        .iter()
        .map(|model| model["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["ddpo", "dpo", "sft", "gold"]);
    for model in models {
        for measure in ["reward", "semantic", "style", "homogenization"] {
            assert!(model["values"][measure]["mean"].is_number(), "{model}");
        }
    }
    assert!(
        folder
            .path()
            .join("report/plots/plane_semantic.svg")
            .is_file()
    );
    // The embedders of the report made the weights of DDPO, which DPO and SFT do not use.
    let shared = |report: &serde_json::Value| -> Vec<String> {
        let warnings = report["warnings"].as_array().unwrap().iter();
        let warnings = warnings.map(|warning| warning.as_str().unwrap().to_owned());
        warnings
            .filter(|warning| warning.contains("were trained on"))
            .collect()
    };
    assert_eq!(
        shared(&report),
        [
            "semantic: builtin:words has also weighted the pairs that the models of ddpo.jsonl were trained on, so \
             this diversity is measured by what training has optimised. Measure it by a second embedder, too: \
             --semantic BAAI/bge-m3.",
            "style: builtin:style has also weighted the pairs that the models of ddpo.jsonl were trained on, so \
             this diversity is measured by what training has optimised. Measure it by a second embedder, too: \
             --style AnnaWegmann/Style-Embedding.",
        ]
    );
    let inputs = report["inputs"].as_array().unwrap();
    let ddpo = inputs.iter().find(|input| input["file"] == "ddpo.jsonl");
    let adapter = &ddpo.unwrap()["adapter"];
    assert_eq!(
        (&adapter["method"], &adapter["data"]),
        (&"ddpo".into(), &"pairs.parquet".into())
    );
    // Other embedders have not seen the pairs.
    let fixture = |name: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        root.join(format!("tests/fixtures/models/{name}/model"))
    };
    let (semantic, style) = (fixture("minilm_bert"), fixture("style_roberta"));
    let (outputs, out) = (
        folder.path().join("ddpo.jsonl"),
        folder.path().join("other"),
    );
    done(&[
        "eval",
        text(&outputs),
        "--semantic",
        text(&semantic),
        "--style",
        text(&style),
        "--out",
        text(&out),
    ]);
    let other = std::fs::read_to_string(out.join("report.json")).unwrap();
    assert_eq!(
        shared(&serde_json::from_str(&other).unwrap()),
        Vec::<String>::new()
    );
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    dump(&folder.path().join("dump"), 60);
    let make = |name: &str| {
        let store = folder.path().join(name);
        done(&[
            "ingest",
            text(&folder.path().join("dump")),
            "--store",
            text(&store),
        ]);
        done(&["pairs", "--store", text(&store)]);
        bytes(&store)
    };
    let first = make("a");
    assert!(first.len() > 10);
    assert_eq!(first, make("b"));
}

#[test]
fn a_run_killed_at_random_moments_and_resumed_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let dumps = folder.path().join("dump");
    dump(&dumps, 400);
    let path = folder.path().join("calm");
    let commands = |store: &Path| -> [Vec<String>; 2] {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        [
            words(&["ingest", text(&dumps), "--store", text(store)]),
            words(&["pairs", "--store", text(store)]),
        ]
    };
    let began = Instant::now();
    for words in commands(&path) {
        assert!(polyphony().args(words).output().unwrap().status.success());
    }
    let duration = began.elapsed();
    let expected = bytes(&path);
    let mut random = support::Random::from_clock();
    let mut kills = 0;
    for round in 0..12 {
        let store = folder.path().join(format!("stormy{round}"));
        for words in commands(&store) {
            let delay = duration.mul_f64(0.6 * random.next_f64());
            kills += support::kill_until_done(&words, delay, duration / 15);
        }
        assert_eq!(bytes(&store), expected, "round {round}, {random:?}");
    }
    // The number of kills depends on the machine; without any kill nothing would have been tested.
    assert!(kills > 0, "no run was killed: the delays are too long");
}

#[test]
fn result_does_not_depend_on_the_order_of_sources() {
    let folder = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let submissions = data.join("WritingPrompts_submissions.jsonl");
    let comments = data.join("WritingPrompts_comments.jsonl");
    let at = |name: &str| folder.path().join(name);
    done(&[
        "ingest",
        text(&comments),
        text(&submissions),
        "--store",
        text(&at("once")),
    ]);
    let counts = done(&["ingest", text(&comments), "--store", text(&at("late"))]);
    assert!(counts.contains("0 prompts, 0 responses"), "{counts}");
    done(&["ingest", text(&submissions), "--store", text(&at("late"))]);
    assert_eq!(contents(&at("once")), contents(&at("late")));
}

#[test]
fn the_latest_retrieval_wins_even_if_it_is_a_removal() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let prompt = |retrieved: u32, selftext: &str| {
        format!(
            r#"{{"id":"p1","title":"[WP] A door","selftext":"{selftext}","subreddit":"writingprompts","score":1,"created_utc":1,"retrieved_utc":{retrieved}}}"#
        )
    };
    let comment = |id: &str, body: &str, score: u32, retrieved: u32| {
        format!(
            r#"{{"name":"t1_{id}","link_id":"t3_p1","parent_id":"t3_p1","body":"{body}","subreddit":"WritingPrompts","score":{score},"created_utc":"1","retrieved_on":{retrieved}}}"#
        )
    };
    std::fs::write(at("RS_1.jsonl"), prompt(10, "")).unwrap();
    let lines = [
        comment("a", "Old.", 1, 10),
        comment("a", "New.", 2, 20),
        comment("b", "Stands.", 3, 10),
        comment("b", "[removed]", 3, 20),
    ];
    std::fs::write(at("RC_1.jsonl"), lines.join("\n")).unwrap();
    let store = at("store");
    done(&[
        "ingest",
        text(&at("RS_1.jsonl")),
        text(&at("RC_1.jsonl")),
        "--store",
        text(&store),
    ]);
    let responses = "SELECT response_id, text, score FROM responses ORDER BY 1";
    assert_eq!(
        query(&store, responses),
        "response_id,text,score\na,New.,2.0\n"
    );
    let reasons = "SELECT reason, id, line FROM quarantine ORDER BY 3";
    assert_eq!(
        query(&store, reasons),
        "reason,id,line\nduplicate,a,1\nduplicate,b,3\ndeleted_or_removed,b,4\n"
    );
    std::fs::write(at("RS_2.jsonl"), prompt(30, "[removed]")).unwrap();
    done(&["ingest", text(&at("RS_2.jsonl")), "--store", text(&store)]);
    assert_eq!(
        query(&store, "SELECT count(*) AS n FROM responses"),
        "n\n0\n"
    );
    let waiting = "SELECT reason, id FROM quarantine WHERE reason LIKE 'comment%'";
    assert_eq!(query(&store, waiting), "reason,id\ncomment_on_removed,a\n");
}

#[test]
fn a_truncated_file_is_ingested_up_to_its_end_and_replaced_later() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    dump(&at("dump"), 300);
    let complete = at("dump").join("RC_2019-01.zst");
    let packed = std::fs::read(&complete).unwrap();
    std::fs::create_dir(at("cut")).unwrap();
    std::fs::copy(at("dump").join("RS_2019-01.zst"), at("cut/RS_2019-01.zst")).unwrap();
    std::fs::write(at("cut/RC_2019-01.zst"), &packed[..packed.len() - 9]).unwrap();
    let store = at("store");
    let words = [
        "ingest",
        text(&at("cut")).to_owned().leak(),
        "--store",
        text(&store).to_owned().leak(),
    ];
    let output = run(&words);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("is truncated (") && stderr.contains("--allow-truncated"),
        "{stderr}"
    );
    // A second run finds the file already ingested, and it is still an error that it is truncated.
    assert_eq!(run(&words).status.code(), Some(1));
    let allowed = [words.as_slice(), &["--allow-truncated"]].concat();
    done(&allowed);
    // An uncompressed file is truncated if its last line is incomplete.
    let line = b"{\"id\":\"c1\",\"link_id\":\"t3_x\"}\n{\"id\":\"c2\",\"li";
    std::fs::write(at("RC_2019-02.jsonl"), line).unwrap();
    let output = run(&[
        "ingest",
        text(&at("RC_2019-02.jsonl")),
        "--store",
        text(&at("other")),
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("its last line does not end"), "{stderr}");
    // The complete file replaces the truncated one.
    std::fs::write(at("cut/RC_2019-01.zst"), &packed).unwrap();
    done(&words);
    let count = "SELECT count(*) AS n, count(DISTINCT response_id) AS ids FROM responses";
    assert_eq!(query(&store, count), "n,ids\n300,300\n");
    assert_eq!(query(&store, "SELECT count(*) AS n FROM sources"), "n\n2\n");
}

#[test]
fn data_sets_come_in_whatever_their_format() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let preferences = r#"{"post_title":"[WP] A door &amp; a key.","post_text":"","post_scores":90,"comment_texts":["One.","Two.","Two.","[deleted]"],"comment_scores":[7,3,3,2],"comment_times":["1546300800","2019-01-02 00:00:00",null,null]}"#;
    std::fs::write(at("preferences.jsonl"), preferences).unwrap();
    std::fs::write(
        at("flat.csv"),
        "Question,Answer,Votes,Who\n\"A well, dry.\",\"Three,\nfour.\",12,ann\nA well\\, dry.,x\n\"A well, dry.\",Five.,many,bob\n",
    )
    .unwrap();
    let columns = "prompt=Question,response=Answer,score=Votes,author=Who";
    let schema = arrow::datatypes::Schema::new(
        [
            "prompt",
            "chosen_story",
            "rejected_story",
            "chosen_upvotes",
            "rejected_upvotes",
        ]
        .map(|name| arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Utf8, true))
        .to_vec(),
    );
    let column = |value: &str| -> arrow::array::ArrayRef {
        std::sync::Arc::new(arrow::array::StringArray::from(vec![value, value]))
    };
    let batch = RecordBatch::try_new(
        std::sync::Arc::new(schema),
        ["A lamp.", "Six.", "Seven.", "40", "11"]
            .map(column)
            .to_vec(),
    )
    .unwrap();
    let file = std::fs::File::create(at("litbench.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let store = at("store");
    done(&[
        "ingest",
        text(&at("preferences.jsonl")),
        text(&at("litbench.parquet")),
        "--store",
        text(&store),
    ]);
    done(&[
        "ingest",
        text(&at("flat.csv")),
        "--store",
        text(&store),
        "--columns",
        columns,
    ]);
    let rows = "SELECT prompts.tag, prompts.prompt, responses.text, responses.score, responses.created_at \
                FROM responses JOIN prompts ON prompts.prompt_id = responses.prompt_id ORDER BY score";
    insta::assert_snapshot!(query(&store, rows));
    let reasons = "SELECT reason, line FROM quarantine ORDER BY 1, 2";
    insta::assert_snapshot!(query(&store, reasons));
}

#[test]
fn data_sets_are_downloaded_from_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let row = r#"{"post_title":"A door.","comment_texts":["One.","Two."],"comment_scores":[7,3]}"#;
    let endpoint = support::hub(
        "datasets/ann/stories",
        vec![
            ("README.md", Vec::new()),
            ("data/train.jsonl", row.as_bytes().to_vec()),
        ],
    );
    let ingest = |source: &str, token: &str| {
        polyphony()
            .env("HF_ENDPOINT", &endpoint)
            .env("HF_HOME", at("cache"))
            .env("HF_TOKEN", token)
            .args(["ingest", source, "--store", text(&at("store"))])
            .output()
            .unwrap()
    };
    let refused = ingest("hub:ann/stories", "");
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("hub:ann/stories") && stderr.contains("set HF_TOKEN"),
        "{stderr}"
    );
    let gone = ingest("hub:ann/gone", "secret");
    let stderr = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(
        stderr.contains("check the name and the revision"),
        "{stderr}"
    );
    let output = ingest("hub:ann/stories@v1", "secret");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    let sources = query(&at("store"), "SELECT source, lines FROM sources");
    assert_eq!(
        sources,
        "source,lines\nhub:ann/stories@c0ffee/data/train.jsonl,1\n"
    );
    assert_eq!(
        query(&at("store"), "SELECT count(*) AS n FROM responses"),
        "n\n2\n"
    );
}

#[test]
fn every_strategy_and_option_makes_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    done(&["ingest", text(&data), "--store", text(&store)]);
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer.json");
    let mut counts = String::new();
    for words in [
        "--strategy gap --gap 1 --seed 7",
        "--strategy gap --deviation none",
        "--strategy gap --deviation style --min-weight 0.2",
        "--strategy gap --max-responses 4 --select best",
        "--strategy gap --max-responses 4 --select dpp",
        "--strategy gap --max-responses 4 --select dpp --deviation style",
        "--strategy gap --max-pairs 1 --best-winners",
        "--strategy gap --min-responses 5",
        "--strategy ratio",
        "--strategy ratio --ignore-time-order --balance-length --ratio 2",
        "--strategy all --max-pairs 3",
        "--strategy divpo",
        "--strategy divpo --pool all",
        "--strategy marginal",
        "--strategy marginal --epsilon 0 --n-cap 1 --top-quantile 1 --deviation semantic",
        "--strategy marginal --max-responses 5 --select dpp --max-pairs 1",
        "--strategy divpo --rho 0.5 --max-pairs 1 --deviation semantic",
        "--strategy gap --gap 1 --seed 7",
    ] {
        let mut line = vec!["pairs", "--store", text(&store)];
        line.extend(words.split(' '));
        done(&line);
        let shape = "SELECT count(*) AS pairs, count(DISTINCT prompt_id) AS prompts, \
                     count(deviation_semantic) AS semantic, count(deviation_style) AS style, \
                     round(min(weight), 3) AS least FROM pairs";
        let _ = writeln!(counts, "{words}\n{}", query(&store, shape));
    }
    done(&[
        "pairs",
        "--store",
        text(&store),
        "--tokenizer",
        text(&tokenizer),
        "--max-tokens",
        "190",
    ]);
    let excluded = "SELECT excluded, count(*) AS n FROM candidates GROUP BY 1 ORDER BY 1";
    let _ = write!(counts, "--tokenizer\n{}", query(&store, excluded));
    insta::assert_snapshot!(counts);
}

#[test]
fn every_candidate_is_an_sft_example_that_train_reads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (store, sft) = (at("store"), at("sft.parquet"));
    done(&["ingest", text(&root.join("data")), "--store", text(&store)]);
    let words = ["pairs", "--store", text(&store), "--max-words", "200"];
    let stdout = done(&[&words[..], &["--sft", text(&sft)]].concat());
    let file = format!("FROM '{}'", text(&sft));
    // The same texts as the candidates', which are more than the chosen ones.
    let other = "SELECT count(*) AS n FROM (SELECT text, split FROM candidates \
                 JOIN responses USING (response_id) WHERE excluded IS NULL \
                 EXCEPT ALL SELECT completion[1]['content'], split ";
    assert_eq!(query(&store, &format!("{other}{file})")), "n\n0\n");
    let number = |rows: &str| -> usize {
        let count = query(&store, &format!("SELECT count(*) AS n {rows}"));
        count.lines().nth(1).unwrap().parse().unwrap()
    };
    let rows = number(&file);
    assert!(stdout.contains(&format!("{rows} SFT examples")), "{stdout}");
    assert_eq!(rows, number("FROM candidates WHERE excluded IS NULL"));
    assert!(rows > number("FROM (SELECT DISTINCT chosen_id FROM pair_ids)"));
    let card = std::fs::read_to_string(store.join("pairs.md")).unwrap();
    assert!(card.contains(&format!(
        "## SFT examples\n\n| | |\n|---|--:|\n| all | {rows} |"
    )));
    let model = root.join("tests/fixtures/models/llama/model");
    let mut words = vec![
        "train",
        "sft",
        "--model",
        text(&model),
        "--data",
        text(&sft),
    ];
    let out = at("adapter");
    words.extend([
        "--out",
        text(&out),
        "--max-steps",
        "2",
        "--max-length",
        "128",
    ]);
    words.extend([
        "--overlength",
        "truncate",
        "--lora-r",
        "4",
        "--device",
        "cpu",
    ]);
    done(&words);
    let run = std::fs::read_to_string(out.join("run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    let train = number(&format!("{file} WHERE split = 'train'"));
    let counts = &run["rows"];
    assert_eq!(counts["train"], train, "{run}");
    assert_eq!(counts["duplicates"], 0, "{run}");
    // Without the option the examples of an earlier run do not stay.
    done(&["pairs", "--store", text(&store)]);
    let tables = query(&store, "SELECT table_name FROM information_schema.tables");
    assert!(!tables.lines().any(|name| name == "sft"), "{tables}");
}

#[test]
fn files_of_the_same_name_in_different_folders_are_different_sources() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (folder_name, story) in [("x", "One."), ("y", "Two.")] {
        std::fs::create_dir(at(folder_name)).unwrap();
        let row = format!("p,r,s\nA door.,{story},3\n");
        std::fs::write(at(folder_name).join("votes.csv"), row).unwrap();
        // The same arguments in another working directory; `../store` is the same store.
        let output = polyphony()
            .current_dir(at(folder_name))
            .args(["ingest", "votes.csv", "--store", "../store", "--columns"])
            .arg("prompt=p,response=r,score=s")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let texts = "SELECT source, text FROM responses ORDER BY 1";
    assert_eq!(
        query(&at("store"), texts),
        "source,text\nvotes.csv,One.\nvotes.csv#2,Two.\n"
    );
}

#[test]
fn copy_writes_files_and_quotes_are_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("it's.csv");
    let quoted = text(&out).replace('\'', "''");
    let copy = format!(
        "-- a first file; with a semicolon\nCOPY (SELECT 'a;b' AS x, 'it''s' AS y) TO '{quoted}' \
         STORED AS CSV; SELECT ';' AS mark;"
    );
    assert!(done(&["sql", "--format", "csv", "-c", &copy]).ends_with("mark\n;\n"));
    assert_eq!(std::fs::read_to_string(out).unwrap(), "x,y\na;b,it's\n");
}
