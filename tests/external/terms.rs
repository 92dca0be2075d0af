//! Overused terms of real stories: one half of the people against the other has none, in about 19 of 20 splits.

use super::Missing;
use super::program::{done, query, text};
use super::reports::report;
use super::stories::ingest;

/// The number of random splits of the stories.
const SPLITS: usize = 40;

/// Splits the stories of each prompt into two halves, many times: Benjamini and Hochberg's procedure names a term in
/// at most about 5 % of the splits. A planted phrase is found in each.
pub(crate) fn people_against_people_have_no_overused_term() -> Result<(), Missing> {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ingest(&store)?;
    // The first half of the stories of a prompt in a random order, by split. Of three stories the model has one or two.
    let splits = format!(
        "WITH halves AS ( \
             SELECT split, text, prompt_id, 2 * row_number() OVER ( \
                 PARTITION BY split, prompt_id ORDER BY md5(split || ' ' || response_id) \
             ) <= count(*) OVER (PARTITION BY split, prompt_id) + split % 2 AS is_model \
             FROM responses CROSS JOIN generate_series(1, {SPLITS}) AS s (split) \
         )"
    );
    let found = query(
        &store,
        &format!(
            "{splits}, terms AS ( \
                 SELECT split, unnest(log_odds(text, is_model, prompt_id)) AS t FROM halves GROUP BY split \
             ) \
             SELECT split, count(*) AS tested, count(*) FILTER (WHERE t['p_bh'] <= 0.05) AS overused, \
                 min(t['p_bh']) AS p FROM terms GROUP BY split ORDER BY split"
        ),
    );
    let numbers =
        |row: &str| -> Vec<f64> { row.split(',').map(|cell| cell.parse().unwrap()).collect() };
    let rows: Vec<Vec<f64>> = found.lines().skip(1).map(numbers).collect();
    assert_eq!(rows.len(), SPLITS);
    assert!(rows.iter().all(|row| row[1] > 1000.0), "{found}");
    let with_terms = rows.iter().filter(|row| row[2] > 0.0).count();
    // Two of 40 are expected at most; more than six have a probability of 1 %.
    assert!(
        with_terms <= 6,
        "{with_terms} of {SPLITS} splits have an overused term\n{found}"
    );
    #[expect(clippy::print_stdout, reason = "the result of the test")]
    {
        println!("{with_terms} of {SPLITS} splits of people's stories have an overused term");
    }

    // The same through the report, for one split; then with a phrase in every second story of the model.
    let evaluated = |name: &str, ending: &str| {
        let half = |is_model: bool, ending: &str| {
            let rows = query_lines(
                &store,
                &format!(
                    "{splits} SELECT h.prompt_id, prompt, text || CASE WHEN ascii(md5(text)) % 2 = 0 \
                     THEN '{ending}' ELSE '' END AS response \
                     FROM halves AS h JOIN prompts AS p ON p.prompt_id = h.prompt_id \
                     WHERE h.split = 1 AND h.is_model = {is_model} ORDER BY h.prompt_id, response"
                ),
            );
            let path = folder.path().join(format!("{name}-{is_model}.jsonl"));
            std::fs::write(&path, rows).unwrap();
            path
        };
        let (model, people) = (half(true, ending), half(false, ""));
        let out = folder.path().join(name);
        let model = format!("half={}", text(&model));
        done(&[
            "eval",
            &model,
            "--gold",
            text(&people),
            "--k",
            "9",
            "--out",
            text(&out),
        ]);
        report(&out)["overused_terms"][0].clone()
    };
    let none = evaluated("none", "");
    assert!(
        none["prompts"].as_u64().unwrap() > 70 && none["overused"] == 0,
        "{none}"
    );
    let planted = evaluated("planted", " It was a testament to them all.");
    let first = planted["terms"][0]["term"].as_str().unwrap();
    assert!(
        "it was a testament to them all".contains(first),
        "{planted}"
    );
    Ok(())
}

/// The rows of a query as JSON lines.
fn query_lines(store: &std::path::Path, sql: &str) -> String {
    done(&[
        "sql",
        "--store",
        text(store),
        "--format",
        "ndjson",
        "-c",
        sql,
    ])
}
