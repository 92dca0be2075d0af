//! Real stories: dumps of r/WritingPrompts with added noise of labelled kinds, outside the repository.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::program::{done, query, text};
use super::{Missing, shared};

/// The columns of pairs that say which stories are compared, and with what result.
const PAIRS: &str = "SELECT * EXCLUDE (prompt, chosen, rejected) FROM pairs ORDER BY pair_id";

/// Ingests the dumps into a new store and returns their folder.
pub(crate) fn ingest(store: &Path) -> Result<PathBuf, Missing> {
    let data = shared("data/reddit")?;
    done(&[
        "ingest",
        text(&data.join("WritingPrompts_comments.zst")),
        text(&data.join("WritingPrompts_submissions.zst")),
        "--store",
        text(store),
    ]);
    Ok(data)
}

/// Compares a store with `truth.json` next to the dumps: the expected rows, and the number of dropped rows by reason.
pub(crate) fn dumps_give_the_rows_of_truth_json() -> Result<(), Missing> {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let data = ingest(&store)?;
    let truth = std::fs::read_to_string(data.join("truth.json")).unwrap();
    let truth: serde_json::Value = serde_json::from_str(&truth).unwrap();

    let mut expected: Vec<String> = truth["prompts"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    expected.sort();
    let actual = query(&store, "SELECT prompt_id FROM prompts ORDER BY 1");
    assert_eq!(actual.lines().skip(1).collect::<Vec<_>>(), expected);

    let responses = truth["responses"].as_object().unwrap();
    let mut expected: Vec<String> = responses
        .iter()
        .map(|(id, row)| format!("{id},{},{}", row["prompt"].as_str().unwrap(), row["score"]))
        .collect();
    expected.sort();
    let actual = query(
        &store,
        "SELECT response_id, prompt_id, CAST(score AS BIGINT) FROM responses ORDER BY 1",
    );
    assert_eq!(actual.lines().skip(1).collect::<Vec<_>>(), expected);

    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (reason, count) in truth["noise"].as_object().unwrap() {
        expected.insert(reason.clone(), count.as_u64().unwrap());
    }
    let counted = "SELECT reason, count(*) FROM quarantine GROUP BY reason UNION ALL \
                   SELECT 'other_subreddit', sum(other_subreddit) FROM sources";
    let actual: BTreeMap<String, u64> = query(&store, counted)
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap())
        .map(|(reason, count)| (reason.to_owned(), count.parse().unwrap()))
        .collect();
    assert_eq!(actual, expected);

    let votes = |id: &serde_json::Value| responses[id.as_str().unwrap()]["score"].as_i64().unwrap();
    let pairs = truth["pairs"].as_array().unwrap();
    assert!(pairs.iter().all(|pair| votes(&pair[0]) > votes(&pair[1])));
    done(&[
        "pairs",
        "--store",
        text(&store),
        "--strategy",
        "all",
        "--max-pairs",
        "1000",
    ]);
    let made = query(&store, "SELECT chosen_id, rejected_id FROM pairs");
    let made: std::collections::BTreeSet<&str> = made.lines().skip(1).collect();
    for pair in pairs {
        let pair = format!(
            "{},{}",
            pair[0].as_str().unwrap(),
            pair[1].as_str().unwrap()
        );
        assert!(
            made.contains(pair.as_str()),
            "{pair} is not among the pairs"
        );
    }
    Ok(())
}

/// Posts every prompt of the dumps a second time, under another id and with other punctuation, and moves every other
/// comment to the repost: the pairs, their deviations and their weights are those of the original dumps.
pub(crate) fn reposts_are_one_prompt() -> Result<(), Missing> {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let data = ingest(&store)?;
    done(&["pairs", "--store", text(&store)]);
    let expected = query(&store, PAIRS);

    let reposted = folder.path().join("dumps");
    std::fs::create_dir(&reposted).unwrap();
    let rewrite = |name: &str, line: &mut dyn FnMut(usize, serde_json::Value) -> String| {
        let packed = std::fs::read(data.join(name)).unwrap();
        // Dumps have windows of 2 GiB.
        let mut decoder = zstd::Decoder::new(&*packed).unwrap();
        decoder.window_log_max(31).unwrap();
        let mut dump = Vec::new();
        decoder.read_to_end(&mut dump).unwrap();
        let dump = String::from_utf8_lossy(&dump).into_owned();
        let lines = dump.lines().enumerate().map(|(number, row)| {
            match serde_json::from_str::<serde_json::Value>(row) {
                Ok(value) if value["subreddit"] == "WritingPrompts" => {
                    format!("{row}\n{}", line(number, value))
                }
                _ => row.to_owned(),
            }
        });
        let dump = lines.collect::<Vec<_>>().join("\n");
        let packed = zstd::encode_all(dump.as_bytes(), 1).unwrap();
        std::fs::write(reposted.join(name), packed).unwrap();
    };
    // Ids that begin with z are greater than those of the dumps, so that the prompts keep their ids.
    rewrite("WritingPrompts_submissions.zst", &mut |_, mut post| {
        if let Some(id) = post["id"].as_str() {
            post["id"] = format!("z{id}").into();
        }
        post["name"] = serde_json::Value::Null;
        if let Some(title) = post["title"].as_str() {
            post["title"] = format!("{}!", title.to_uppercase()).into();
        }
        post.to_string()
    });
    // A later retrieval of every other comment says that it belongs to the repost.
    rewrite("WritingPrompts_comments.zst", &mut |number, mut comment| {
        if number % 2 == 0
            && let Some(id) = comment["link_id"]
                .as_str()
                .and_then(|id| id.strip_prefix("t3_"))
            && comment["parent_id"] == comment["link_id"]
        {
            comment["link_id"] = format!("t3_z{id}").into();
            comment["parent_id"] = comment["link_id"].clone();
            let later = comment["retrieved_on"].as_i64().unwrap_or(2_000_000_000) + 1;
            comment["retrieved_on"] = later.into();
        }
        comment.to_string()
    });
    let store = folder.path().join("reposted");
    done(&["ingest", text(&reposted), "--store", text(&store)]);
    done(&["pairs", "--store", text(&store)]);
    assert_eq!(query(&store, PAIRS), expected);
    let counted = "SELECT (SELECT count(*) FROM prompt_posts) AS prompts, (SELECT count(*) FROM prompts) AS posts, \
                   (SELECT count(*) FROM (SELECT prompt_key FROM prompts GROUP BY prompt_key \
                    HAVING count(DISTINCT split) > 1) AS mixed) AS divided";
    let counted = query(&store, counted);
    assert_eq!(counted.lines().nth(1), Some("80,160,0"));
    Ok(())
}
