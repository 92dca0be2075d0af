//! Weights of `pairs` and `weigh`: the same texts have the same weights, own expressions and SQL are checked.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{self, done, polyphony, query, run, text};

/// The store of the sample in `data`, with its folder.
fn sample() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    done(&["ingest", text(&data), "--store", text(&store)]);
    (folder, store)
}

/// The one-line error of a command that must fail with exit code 1.
fn refused(words: &[&str]) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let error = stderr.lines().last().unwrap().to_owned();
    assert!(error.starts_with("error: "), "{stderr}");
    error
}

/// The weights of a store with all their bits.
fn weights(store: &Path) -> String {
    let bits = "SELECT response_id, arrow_cast(weight, 'Utf8') AS weight, deviation_semantic, deviation_style \
                FROM weights ORDER BY response_id";
    query(store, bits)
}

/// The rows of JSON lines.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Writes the result of a query on a store as a file, whose ending decides the format.
fn export(store: &Path, select: &str, path: &Path) {
    let end = path.extension().unwrap().to_str().unwrap();
    let format = match end {
        "jsonl" => "JSON",
        "csv" => "CSV",
        _ => "PARQUET",
    };
    let copy = format!("COPY ({select}) TO '{}' STORED AS {format}", text(path));
    done(&["sql", "--store", text(store), "-c", &copy]);
}

/// A table of twelve prompts with six responses each, whose ids `ingest` makes of their texts.
fn table_of_responses(path: &Path) {
    let mut rows = String::from("prompt,response,score\n");
    for prompt in 0..12 {
        for response in 0..6 {
            let votes = (prompt * 31 + response * 17) % 40;
            let story = format!("Story {response} of {prompt}, ").repeat(2 + response);
            let _ = writeln!(
                rows,
                "Prompt {prompt}.,\"{story} the end {votes}.\",{votes}"
            );
        }
    }
    std::fs::write(path, rows).unwrap();
}

/// The weights of JSON lines with all their digits, in the form of the query of the test below.
fn shown(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows: Vec<String> = text
        .lines()
        .map(|line| {
            let (row, numbers) = line.split_once(",\"deviation_semantic\":").unwrap();
            let row: Value = serde_json::from_str(&format!("{row}}}")).unwrap();
            let numbers = numbers
                .replace("\"deviation_style\":", "")
                .replace("\"weight\":", "");
            format!(
                "{},{}\n",
                row["pair_id"].as_str().unwrap(),
                numbers.trim_end_matches('}')
            )
        })
        .collect();
    rows.sort();
    format!("pair_id,semantic,style,weight\n{}", rows.concat())
}

#[test]
fn weigh_gives_the_rows_of_a_file_the_weights_of_pairs_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    table_of_responses(&at("responses.csv"));
    let store = at("store");
    let columns = "prompt=prompt,response=response,score=score";
    done(&[
        "ingest",
        text(&at("responses.csv")),
        "--store",
        text(&store),
        "--columns",
        columns,
    ]);
    done(&["pairs", "--store", text(&store), "--min-weight", "0.2"]);
    let texts = "prompt[1]['content'] AS prompt, chosen[1]['content'] AS chosen, \
                 rejected[1]['content'] AS rejected, pair_id";
    let chats = "prompt, chosen, rejected, pair_id";
    let implicit = "array_concat(prompt, chosen) AS chosen, array_concat(prompt, rejected) AS rejected, pair_id";
    let select = |table: &str| {
        format!(
            "SELECT pair_id, arrow_cast(deviation_semantic, 'Utf8') AS semantic, \
             arrow_cast(deviation_style, 'Utf8') AS style, arrow_cast(weight, 'Utf8') AS weight \
             FROM {table} ORDER BY pair_id"
        )
    };
    let expected = query(&store, &select("pairs"));
    assert!(expected.lines().count() > 20, "{expected}");
    for (name, columns) in [
        ("texts.jsonl", texts),
        ("chats.jsonl", chats),
        ("chats.parquet", chats),
        ("implicit.parquet", implicit),
        ("texts.csv", texts),
    ] {
        export(
            &store,
            &format!("SELECT {columns} FROM pairs ORDER BY pair_id DESC"),
            &at(name),
        );
        for out in ["out.jsonl", "out.parquet"] {
            let stdout = done(&[
                "weigh",
                text(&at(name)),
                "--out",
                text(&at(out)),
                "--min-weight",
                "0.2",
            ]);
            assert!(stdout.contains("12 prompts"), "{stdout}");
            assert!(!at("out.parts").exists());
            let found = match out {
                "out.jsonl" => shown(&at(out)),
                _ => query(&store, &select(&format!("'{}'", text(&at(out))))),
            };
            assert_eq!(found, expected, "{name} to {out}");
        }
    }
}

#[test]
fn weigh_leaves_everything_else_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let rows = concat!(
        "{\"prompt\": \"p\", \"meta\": {\"z\": 1, \"a\": [1.50, NaN]}, \"chosen\": \"One day.\", \"rejected\": \"Two.\"}\n",
        "\n",
        "{\"rejected\":\"A red door stood open.\",\"id\":\"1\",\"chosen\":\"Two.\",\"prompt\":\"p\" }\n",
        "{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\",\"id\":2}\n",
        "{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\",\"id\":2}\n",
    );
    std::fs::write(at("in.jsonl"), rows).unwrap();
    let stdout = done(&[
        "weigh",
        text(&at("in.jsonl")),
        "--out",
        text(&at("out.jsonl")),
    ]);
    assert!(
        stdout.contains("4 rows of 2 prompts")
            && stdout.contains("50.0 % are of prompts with two texts"),
        "{stdout}"
    );
    let out = std::fs::read_to_string(at("out.jsonl")).unwrap();
    let old: Vec<&str> = rows.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(out.lines().count(), old.len());
    for (new, old) in out.lines().zip(old) {
        let kept = old.strip_suffix('}').unwrap().trim_end();
        assert!(new.starts_with(kept), "{new}");
        assert!(
            new[kept.len()..].starts_with(",\"deviation_semantic\":"),
            "{new}"
        );
    }
    assert!(out.ends_with("\"weight\":1.0}\n"), "{out}");
    // An array gives the same weights; it is written as lines.
    let array: Vec<&str> = rows.lines().filter(|line| !line.is_empty()).collect();
    std::fs::write(at("in.json"), format!("[{}]", array.join(","))).unwrap();
    done(&[
        "weigh",
        text(&at("in.json")),
        "--out",
        text(&at("array.jsonl")),
    ]);
    let array = std::fs::read_to_string(at("array.jsonl")).unwrap();
    assert!(array.contains("[1.5,NaN]"), "{array}");
    let tail = |text: &str| -> Vec<String> {
        let tails = text.lines().map(|line| {
            line.split_once("\"deviation_semantic\"")
                .unwrap()
                .1
                .to_owned()
        });
        tails.collect()
    };
    assert_eq!(tail(&out), tail(&array));
    // The run's card: sources by hash, counts.
    let card: Value =
        serde_json::from_slice(&std::fs::read(at("out.weights.json")).unwrap()).unwrap();
    assert_eq!((&card["rows"], &card["responses"]), (&json!(4), &json!(5)));
    assert_eq!(card["weights"]["origin"], "deviation");
}

#[test]
fn weigh_keeps_the_types_of_a_parquet_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (input, output) = (at("in.parquet"), at("out.parquet"));
    let select = "COPY (SELECT arrow_cast(column1, 'Dictionary(Int32, Utf8)') AS prompt, \
                  arrow_cast(column2, 'LargeUtf8') AS chosen, column3 AS rejected, \
                  arrow_cast(column4, 'Decimal128(9, 2)') AS price, arrow_cast(column4, 'Float32') AS f, \
                  to_timestamp_millis(0) AS at, named_struct('z', 1, 'a', [column4]) AS nested \
                  FROM (VALUES ('p', 'One.', 'Two.', 1.25), ('p', 'Two.', 'A door, red.', NULL))) TO";
    done(&[
        "sql",
        "-c",
        &format!("{select} '{}' STORED AS PARQUET", text(&input)),
    ]);
    done(&["weigh", text(&input), "--out", text(&output)]);
    let describe = |path: &Path| {
        done(&[
            "sql",
            "--format",
            "csv",
            "-c",
            &format!("DESCRIBE '{}'", text(path)),
        ])
    };
    let (old, new) = (describe(&input), describe(&output));
    assert!(new.starts_with(&old), "{old}{new}");
    let added: Vec<&str> = new[old.len()..].lines().collect();
    assert_eq!(
        added,
        [
            "deviation_semantic,Float64,YES",
            "deviation_style,Float64,YES",
            "weight,Float64,YES"
        ]
    );
    let columns = "prompt, chosen, rejected, price, f, at, nested";
    let rows = |path: &Path| {
        let select = format!("SELECT {columns} FROM '{}'", text(path));
        done(&["sql", "--format", "json", "-c", &select])
    };
    assert_eq!(rows(&input), rows(&output));
}

#[test]
fn more_responses_to_compare_with_change_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let row = |prompt: &str, chosen: &str, rejected: &str| {
        json!({"prompt": prompt, "chosen": chosen, "rejected": rejected}).to_string() + "\n"
    };
    std::fs::write(
        at("in.jsonl"),
        row("p", "The sea left at dawn.", "The sea left at noon.")
            + &row("p", "The sea left at noon.", "The sea left us."),
    )
    .unwrap();
    let also = [
        json!({"prompt": [{"role": "user", "content": "p"}], "response": "A clock, a key, a hall full of doors!"}),
        json!({"prompt": "p", "text": "The sea left at noon."}),
        json!({"prompt": "elsewhere", "completion": "Nothing."}),
    ];
    let also: String = also.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(at("also.jsonl"), also).unwrap();
    let weigh = |out: &str, more: &[&str]| {
        let (input, out) = (at("in.jsonl"), at(out));
        let words = [&["weigh", text(&input), "--out", text(&out)], more].concat();
        done(&words)
    };
    weigh("alone.jsonl", &[]);
    let stdout = weigh("also.out.jsonl", &["--also", text(&at("also.jsonl"))]);
    assert!(
        stdout.contains("1 more texts; 1 that a prompt has already, 1 of other prompts"),
        "{stdout}"
    );
    // The new text is far from the chosen one.
    let deviation = |name: &str| lines(&at(name))[0]["deviation_semantic"].as_f64().unwrap();
    assert!(deviation("also.out.jsonl") > deviation("alone.jsonl") + 0.05);
}

#[test]
fn the_papers_formula_as_an_expression_gives_todays_weights_to_the_bit() {
    let (_folder, store) = sample();
    let pairs = |more: &[&str]| {
        done(&[&["pairs", "--store", text(&store)], more].concat());
        (
            weights(&store),
            std::fs::read(store.join("pairs.parquet")).unwrap(),
        )
    };
    let default = pairs(&[]);
    assert_eq!(pairs(&["--weight", "sqrt(m_semantic * m_style)"]), default);
    // The formula by aggregates and joins instead of the window function.
    let written_out = support_fixture("weights_by_aggregates");
    assert_eq!(pairs(&["--sql", text(&written_out)]), default);
    let semantic = pairs(&["--deviation", "semantic"]);
    assert_ne!(semantic.0, default.0);
    assert_eq!(
        pairs(&["--deviation", "semantic", "--weight", "m_semantic"]),
        semantic
    );
}

fn support_fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

#[test]
fn expressions_weigh_by_any_column_and_the_card_names_them() {
    let (_folder, store) = sample();
    let card = || std::fs::read_to_string(store.join("pairs.md")).unwrap();
    let paper = "grows with the distance";
    done(&["pairs", "--store", text(&store)]);
    assert!(card().contains(paper));
    // CrPO: a weighted sum of signals.
    let crpo =
        "0.5 * m_semantic + 0.3 * m_style + 0.2 * minmax(score) OVER (PARTITION BY prompt_id)";
    done(&["pairs", "--store", text(&store), "--weight", crpo]);
    let mean = "SELECT round(min(mean), 9) AS least, round(max(mean), 9) AS most FROM \
                (SELECT avg(weight) AS mean FROM weights GROUP BY prompt_id)";
    assert_eq!(query(&store, mean), "least,most\n1.0,1.0\n");
    let text_of_card = card();
    assert!(
        text_of_card.contains(crpo) && !text_of_card.contains(paper),
        "{text_of_card}"
    );
    let hash = "SELECT encode(sha256('";
    let hash = done(&[
        "sql",
        "--format",
        "csv",
        "-c",
        &format!("{hash}{crpo}'), 'hex') AS h"),
    ]);
    assert!(
        text_of_card.contains(hash.trim_start_matches("h\n").trim()),
        "{hash}{text_of_card}"
    );
    // As they are; with no deviation at all.
    let raw = "words * 0.01 + CASE WHEN tag = 'WP' THEN 1 ELSE 0 END";
    done(&[
        "pairs",
        "--store",
        text(&store),
        "--deviation",
        "none",
        "--weight",
        raw,
        "--raw-weights",
    ]);
    let wrong = "SELECT count(*) AS n FROM weights \
                 JOIN responses ON responses.response_id = weights.response_id \
                 JOIN prompts ON prompts.prompt_id = weights.prompt_id \
                 WHERE abs(weight - (words * 0.01 + CASE WHEN tag = 'WP' THEN 1 ELSE 0 END)) > 1e-12";
    assert_eq!(query(&store, wrong), "n\n0\n");
    assert!(card().contains("It is the value of the SQL expression"));
}

#[test]
fn values_that_are_no_weights_are_refused_by_name() {
    let (_folder, store) = sample();
    let of = |sql: &str| refused(&["pairs", "--store", text(&store), "--weight", sql]);
    let null = of("CASE WHEN words % 2 = 0 THEN 1 END");
    assert!(null.contains("the value NULL (it is one of "), "{null}");
    let example = null.split('`').nth(3).unwrap().to_owned();
    let known =
        format!("SELECT words % 2 = 1 AS ok FROM responses WHERE response_id = '{example}'");
    assert_eq!(query(&store, &known), "ok\ntrue\n", "{null}");
    assert!(of("0 * words - 0.5").contains("the value -0.5"));
    assert!(of("words * CAST('NaN' AS DOUBLE)").contains("the value NaN"));
    assert!(of("1.0 / m_style").contains("the value inf"));
    let unknown = of("votes");
    assert!(
        unknown.contains("--weight: `votes`") && unknown.contains("m_semantic"),
        "{unknown}"
    );
    assert!(of("avg(score)").contains("--weight in sql/"));
    // Nothing was committed.
    assert!(!store.join("pairs.parquet").exists());
}

#[test]
fn own_sql_for_weights_is_checked_and_named() {
    let (folder, store) = sample();
    let own = folder.path().join("own");
    std::fs::create_dir(&own).unwrap();
    let body = |select: &str| {
        let sql = format!("-- reads: scored_responses\n-- writes: weights\n{select}\n");
        std::fs::write(own.join("50_weights.sql"), sql).unwrap();
    };
    let columns = "SELECT prompt_id, response_id, CAST(NULL AS DOUBLE) AS deviation_semantic, \
                   CAST(NULL AS DOUBLE) AS deviation_style";
    let words = ["pairs", "--store", text(&store), "--sql", text(&own)];
    body(&format!("{columns}, 2.0 AS weight FROM scored_responses"));
    done(&words);
    let card = std::fs::read_to_string(store.join("pairs.md")).unwrap();
    assert!(
        card.contains("own/50_weights.sql, SHA-256 ") && !card.contains("grows with the distance"),
        "{card}"
    );
    body(&format!(
        "{columns}, 2.0 AS weight FROM scored_responses \
         UNION ALL (SELECT prompt_id, response_id, NULL, NULL, 1.0 FROM scored_responses ORDER BY response_id LIMIT 1)"
    ));
    let doubled = refused(&words);
    assert!(
        doubled.contains("own/50_weights.sql: gives response `")
            && doubled.contains("` several rows: it must"),
        "{doubled}"
    );
    body(&format!(
        "{columns}, 2.0 AS weight FROM scored_responses ORDER BY response_id OFFSET 3"
    ));
    let missing = refused(&words);
    assert!(missing.contains("` no row (it is one of 3)"), "{missing}");
    body(&format!(
        "{columns}, CAST('NaN' AS DOUBLE) AS weight FROM scored_responses"
    ));
    assert!(refused(&words).contains("the value NaN (it is one of "));
    body(&format!(
        "{columns}, CAST(NULL AS DOUBLE) AS weight FROM scored_responses"
    ));
    assert!(refused(&words).contains("the value NULL"));
    let both = refused(&[&words[..], &["--weight", "1.0"]].concat());
    assert!(both.contains("would never be computed"), "{both}");
    // A file that replaces nothing.
    std::fs::write(own.join("50_weigths.sql"), "x").unwrap();
    let unknown = refused(&words);
    assert!(
        unknown.contains("own/50_weigths.sql: replaces no built-in file")
            && unknown.contains("50_weights.sql"),
        "{unknown}"
    );
}

#[test]
fn where_keeps_responses_by_a_condition_on_them_and_their_prompts() {
    let (_folder, store) = sample();
    let condition = "tag = 'WP' AND words >= 40 AND date_part('year', created_at) >= 2000 AND prompt_score >= 0";
    done(&[
        "pairs",
        "--store",
        text(&store),
        "--gap",
        "1",
        "--where",
        condition,
    ]);
    let wrong = "SELECT count(*) AS n FROM candidates JOIN responses ON responses.response_id = candidates.response_id \
                 JOIN prompts ON prompts.prompt_id = candidates.prompt_id \
                 WHERE (coalesce(candidates.excluded, '') = 'where') = \
                 coalesce(tag = 'WP' AND responses.words >= 40 AND \
                 date_part('year', responses.created_at) >= 2000 AND prompts.score >= 0, false)";
    assert_eq!(query(&store, wrong), "n\n0\n");
    let excluded = query(
        &store,
        "SELECT count(*) AS n FROM candidates WHERE excluded = 'where'",
    );
    let excluded = excluded.lines().nth(1).unwrap().to_owned();
    assert_ne!(excluded, "0");
    let card = std::fs::read_to_string(store.join("pairs.md")).unwrap();
    assert!(
        card.contains(&format!("| where | {excluded} |")) && card.contains(condition),
        "{card}"
    );
    let error = refused(&["pairs", "--store", text(&store), "--where", "votes > 3"]);
    assert!(
        error.contains("--where: `votes > 3`") && error.contains("prompt_score"),
        "{error}"
    );
}

#[test]
fn centred_winners_have_mean_weight_one() {
    let (folder, store) = sample();
    let stdout = done(&[
        "pairs",
        "--store",
        text(&store),
        "--center-winners",
        "--min-weight",
        "0.2",
    ]);
    assert!(stdout.contains("(training split: 1.000)"), "{stdout}");
    let mean = "SELECT round(avg(weight), 12) AS mean FROM pairs WHERE split = 'train'";
    assert_eq!(query(&store, mean), "mean\n1.0\n");
    let card = std::fs::read_to_string(store.join("pairs.md")).unwrap();
    assert!(
        card.contains("divided by the mean weight of the chosen stories")
            && card.contains("| mean, split train | 1 |"),
        "{card}"
    );
    let input = folder.path().join("in.parquet");
    export(&store, "SELECT prompt, chosen, rejected FROM pairs", &input);
    let out = folder.path().join("out.parquet");
    let stdout = done(&[
        "weigh",
        text(&input),
        "--out",
        text(&out),
        "--center-winners",
    ]);
    assert!(
        stdout.contains("mean weight of the chosen: 1.000"),
        "{stdout}"
    );
    let mean = format!(
        "SELECT round(avg(weight), 12) AS mean FROM '{}'",
        text(&out)
    );
    assert_eq!(query(&store, &mean), "mean\n1.0\n");
}

#[test]
fn the_built_in_sql_can_be_written_edited_and_used() {
    let (folder, store) = sample();
    let own = folder.path().join("own");
    let stdout = done(&["sql", "--print-pipeline", text(&own)]);
    assert!(stdout.contains(" SQL files written to "), "{stdout}");
    done(&["pairs", "--store", text(&store)]);
    let default = weights(&store);
    done(&["pairs", "--store", text(&store), "--sql", text(&own)]);
    assert_eq!(weights(&store), default);
    // An edited file is kept, and named.
    let edited = own.join("50_weights.sql");
    let sql = std::fs::read_to_string(&edited)
        .unwrap()
        .replace("weight(semantic, style)", "weight(style)");
    std::fs::write(&edited, &sql).unwrap();
    let output = run(&["sql", "--print-pipeline", text(&own)]);
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("50_weights.sql: kept, it differs")
    );
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("1 others were kept")
    );
    assert_eq!(std::fs::read_to_string(&edited).unwrap(), sql);
    done(&["pairs", "--store", text(&store), "--sql", text(&own)]);
    assert_ne!(weights(&store), default);
    let printed = done(&["sql", "--print-pipeline"]);
    assert!(
        printed.contains("-- sql/50_weights.sql\n-- reads: deviations"),
        "{printed}"
    );
}

#[test]
fn a_killed_weigh_resumes_to_the_same_bytes() {
    let (folder, store) = sample();
    let at = |name: &str| folder.path().join(name);
    done(&["pairs", "--store", text(&store), "--strategy", "all"]);
    export(
        &store,
        "SELECT prompt, chosen, rejected FROM pairs",
        &at("in.parquet"),
    );
    let words = |out: &str| -> Vec<String> {
        ["weigh", text(&at("in.parquet")), "--out", text(&at(out))]
            .map(str::to_owned)
            .into()
    };
    assert!(
        polyphony()
            .args(words("calm.parquet"))
            .output()
            .unwrap()
            .status
            .success()
    );
    let (first, more) = (Duration::from_millis(2), Duration::from_millis(25));
    let kills = support::kill_until_done(&words("stormy.parquet"), first, more);
    assert!(kills > 0);
    let bytes = |name: &str| std::fs::read(at(name)).unwrap();
    assert_eq!(bytes("stormy.parquet"), bytes("calm.parquet"));
    assert!(!at("stormy.parts").exists());
}
