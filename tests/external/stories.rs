//! Real stories: dumps of r/WritingPrompts with added noise of labelled kinds, outside the repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::program::{done, query, text};
use super::{Missing, shared};

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
        "SELECT response_id, prompt_id, score FROM responses ORDER BY 1",
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
