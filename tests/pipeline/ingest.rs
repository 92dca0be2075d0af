//! Ingest tests: footers of stories, dumps that are arrays, folders with other files, files without a row.

use std::fs;
use std::path::Path;

use super::support::{done, query, run, text};

const STORY: &str = "The lamp went out.\n\nNobody came to light it again.";

/// A submission and three comments, the second with a footer.
fn rows() -> [Vec<serde_json::Value>; 2] {
    let comment = |id: &str, score: i64, body: &str| {
        serde_json::json!({
            "id": id, "link_id": "t3_p1", "parent_id": "t3_p1", "subreddit": "WritingPrompts",
            "author": "ann", "score": score, "created_utc": 1_546_300_800, "body": body,
        })
    };
    let submission = serde_json::json!({
        "id": "p1", "title": "[WP] A lamp.", "selftext": "", "subreddit": "WritingPrompts",
        "score": 9, "created_utc": 1_546_300_800,
    });
    let footer = format!("{STORY}\n\n---\n\nMore stories at r/LampLight");
    [
        vec![submission],
        vec![
            comment("c1", 40, "Once there was a lamp.\n\nThank you for reading."),
            comment("c2", 20, &footer),
            comment("c3", 1, "It stayed dark."),
        ],
    ]
}

fn lines(rows: &[serde_json::Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// Writes the two dumps, each with the text that `of` makes of its rows.
fn write(folder: &Path, of: fn(&[serde_json::Value]) -> String, ending: &str) {
    fs::create_dir_all(folder).unwrap();
    let [submissions, comments] = rows();
    fs::write(folder.join(format!("RS_1.{ending}")), of(&submissions)).unwrap();
    fs::write(folder.join(format!("RC_1.{ending}")), of(&comments)).unwrap();
}

#[test]
fn footers_are_cut_counted_and_kept_beside_the_story() {
    let folder = tempfile::tempdir().unwrap();
    let dumps = folder.path().join("dumps");
    write(&dumps, lines, "jsonl");
    let at = |name: &str| folder.path().join(name);
    let counts = done(&["ingest", text(&dumps), "--store", text(&at("cut"))]);
    assert!(counts.contains("1  footers of authors"), "{counts}");
    let texts = "SELECT response_id, text, words, footer FROM responses ORDER BY 1";
    let expected = format!(
        "response_id,text,words,footer\n\
         c1,\"Once there was a lamp.\n\nThank you for reading.\",9,\n\
         c2,\"{STORY}\",10,\"---\n\nMore stories at r/LampLight\"\n\
         c3,It stayed dark.,3,\n"
    );
    assert_eq!(query(&at("cut"), texts), expected);
    done(&["pairs", "--store", text(&at("cut"))]);
    let card = fs::read_to_string(at("cut").join("pairs.md")).unwrap();
    assert!(
        card.contains("| stories with a footer cut off | 1 |"),
        "{card}"
    );

    let store = at("kept");
    let counts = done(&[
        "ingest",
        text(&dumps),
        "--store",
        text(&store),
        "--keep-footers",
    ]);
    assert!(!counts.contains("footers"), "{counts}");
    let kept =
        "SELECT count(*) AS n FROM responses WHERE footer IS NULL AND text LIKE '%r/LampLight'";
    assert_eq!(query(&store, kept), "n\n1\n");

    // A data set's ids are hashes of the text as it came, so they are the same with and without footers.
    let row = serde_json::json!({"p": "A lamp.", "r": format!("{STORY}\nr/LampLight"), "s": 3});
    fs::write(at("table.jsonl"), row.to_string()).unwrap();
    let ids = ["--columns", "prompt=p,response=r,score=s"];
    let table = at("table.jsonl");
    for (store, extra) in [("t1", None), ("t2", Some("--keep-footers"))] {
        let store = at(store);
        let mut words = vec!["ingest", text(&table), "--store", text(&store)];
        words.extend(ids.into_iter().chain(extra));
        done(&words);
    }
    let id = "SELECT response_id FROM responses";
    assert_eq!(query(&at("t1"), id), query(&at("t2"), id));
}

#[test]
fn a_dump_that_is_an_array_gives_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("lines"), lines, "jsonl");
    write(
        &at("arrays"),
        |rows| serde_json::json!(rows).to_string(),
        "json",
    );
    let contents = ["lines", "arrays"].map(|name| {
        let store = at(&format!("store-{name}"));
        done(&["ingest", text(&at(name)), "--store", text(&store)]);
        [
            "SELECT prompt_id, line, prompt, score, created_at FROM prompts",
            "SELECT response_id, prompt_id, line, text, score, footer, author_hash FROM responses ORDER BY 1",
        ]
        .map(|sql| query(&store, sql))
        .concat()
    });
    assert_eq!(contents[0], contents[1]);
    assert!(contents[0].contains("It stayed dark."), "{}", contents[0]);
}

#[test]
fn a_folder_with_another_file_is_read_and_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let dumps = folder.path().join("dumps");
    write(&dumps, lines, "jsonl");
    fs::write(dumps.join("licence.json"), "{\"licence\": \"CC BY 4.0\"}").unwrap();
    let store = folder.path().join("store");
    let output = run(&["ingest", text(&dumps), "--store", text(&store)]);
    let notices = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{notices}");
    assert!(
        notices.contains("licence.json: skipped, of no known kind (its columns are `licence`)"),
        "{notices}"
    );
    assert_eq!(
        query(&store, "SELECT count(*) AS n FROM responses"),
        "n\n3\n"
    );
}

#[test]
fn a_folder_with_one_file_a_split_is_a_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    super::dump(&at("dump"), 60);
    let (store, data_set) = (at("store"), at("dataset"));
    done(&["ingest", text(&at("dump")), "--store", text(&store)]);
    // A split that has no pairs any more must not stay.
    let all = [
        "pairs",
        "--store",
        text(&store),
        "--dataset",
        text(&data_set),
    ];
    done(&all);
    assert!(data_set.join("validation.parquet").exists());
    let command = [
        "pairs",
        "--store",
        text(&store),
        "--where",
        "split <> 'validation'",
    ];
    done(&[&command[..], &["--dataset", text(&data_set)]].concat());
    assert!(!data_set.join("validation.parquet").exists());
    let rows = |file: &Path, condition: &str| {
        let sql = format!(
            "SELECT * FROM '{}' {condition} ORDER BY pair_id",
            text(file)
        );
        done(&["sql", "--format", "json", "-c", &sql])
    };
    for split in ["train", "test"] {
        let of_split = rows(&data_set.join(format!("{split}.parquet")), "");
        assert!(of_split.contains("pair_id"), "{split}");
        let condition = format!("WHERE split = '{split}'");
        assert_eq!(of_split, rows(&store.join("pairs.parquet"), &condition));
    }
    let card = fs::read_to_string(data_set.join("README.md")).unwrap();
    let header = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: \
                  train.parquet\n  - split: test\n    path: test.parquet\ntags:\n";
    assert!(card.starts_with(header), "{card}");
    let refused = run(&[&command[..], &["--dataset", text(&store)]].concat());
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("is a store"), "{message}");
    assert_eq!(refused.status.code(), Some(1));
}

/// Submissions of pairs of prompts that differ in one word; `late` gives the second of each pair.
fn near_duplicates(late: bool) -> String {
    let numbers = 0..60;
    let row = |number: i32| {
        let id = format!("{}{number}", if late { "z" } else { "n" });
        let words: Vec<String> = (0..25)
            .map(|word| format!("w{}", number * 31 + word))
            .collect();
        let last = if late { "sea" } else { "shore" };
        serde_json::json!({
            "id": id, "title": format!("[WP] {} {last}.", words.join(" ")), "selftext": "",
            "subreddit": "WritingPrompts", "score": 1, "created_utc": 1_546_300_800,
        })
    };
    lines(&numbers.map(row).collect::<Vec<_>>())
}

#[test]
fn near_duplicates_have_one_split_whenever_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("RS_1.jsonl"), near_duplicates(false)).unwrap();
    fs::write(at("RS_2.jsonl"), near_duplicates(true)).unwrap();
    let ingest = |files: &[&str], store: &str| {
        let files: Vec<_> = files.iter().map(|file| at(file)).collect();
        let store = at(store);
        let mut words = vec!["ingest", "--store", text(&store)];
        words.extend(files.iter().map(|file| text(file)));
        done(&words);
    };
    ingest(&["RS_1.jsonl", "RS_2.jsonl"], "once");
    ingest(&["RS_2.jsonl"], "late");
    let splits = "SELECT prompt_id, split FROM prompts ORDER BY 1";
    let alone = query(&at("late"), splits);
    ingest(&["RS_1.jsonl"], "late");
    assert_eq!(query(&at("late"), splits), query(&at("once"), splits));
    // Some prompts got another split by their near-duplicate, so the parts were rewritten.
    let of_late = "SELECT prompt_id, split FROM prompts WHERE prompt_id LIKE 'z%' ORDER BY 1";
    assert_ne!(query(&at("late"), of_late), alone);
    for store in ["once", "late"] {
        let counted = "SELECT count(*) AS pairs, count(*) FILTER (WHERE a.split = b.split) AS joined, \
                       round(min(jaccard), 4) AS least, count(DISTINCT near_duplicates.prompt_id) AS ids \
                       FROM near_duplicates JOIN prompts AS a ON a.prompt_id = near_duplicates.prompt_id \
                       JOIN prompts AS b ON b.prompt_id = other_prompt_id \
                       WHERE substr(a.prompt_id, 2) = substr(b.prompt_id, 2)";
        // 26 words are 25 pairs of words, of which 24 are in both: 24 of 26.
        let expected = "pairs,joined,least,ids\n60,60,0.9231,60\n";
        assert_eq!(query(&at(store), counted), expected, "{store}");
    }
    let all = query(&at("once"), "SELECT count(*) AS n FROM near_duplicates");
    assert_eq!(all, "n\n60\n");
}

#[test]
fn evaluation_prompts_and_their_near_duplicates_are_in_no_pair() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    super::dump(&at("dump"), 60);
    let store = at("store");
    done(&["ingest", text(&at("dump")), "--store", text(&store)]);
    let pairs = ["pairs", "--store", text(&store), "--deviation", "none"];
    done(&pairs);
    let prompts = "SELECT DISTINCT prompt_id FROM pairs ORDER BY 1";
    let all = query(&store, prompts);
    let held = query(
        &store,
        "SELECT prompt_id, prompt FROM prompts WHERE prompt_id = (SELECT min(prompt_id) FROM pairs)",
    );
    let (id, prompt) = held.lines().nth(1).unwrap().split_once(',').unwrap();
    let prompt = format!("[WP] {}!!", prompt.trim_matches('"').to_uppercase());
    let chat = serde_json::json!([{"role": "user", "content": prompt}]);
    let rows = [
        serde_json::json!({"prompt": "Nobody wrote this prompt before today."}),
        serde_json::json!({"prompt": chat}),
    ];
    fs::write(at("eval.jsonl"), lines(&rows)).unwrap();
    let eval = at("eval.jsonl");
    done(&[&pairs[..], &["--eval-prompts", text(&eval)]].concat());
    let expected: String = all
        .lines()
        .filter(|line| *line != id)
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(query(&store, prompts), expected);
    let card = fs::read_to_string(store.join("pairs.md")).unwrap();
    assert!(card.contains("| eval_prompt |"), "{card}");
    // Without the option the store is as it was.
    done(&pairs);
    assert_eq!(query(&store, prompts), all);
    fs::write(&eval, "{\"text\": \"no prompt\"}").unwrap();
    let refused = run(&[&pairs[..], &["--eval-prompts", text(&eval)]].concat());
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("row 1 has no `prompt`"), "{message}");
}
