//! Splitter of verbalized samples: completions with several answers become output rows, one row an answer.

use std::collections::BTreeMap;

use super::answers::parse;
use crate::generate::FinishReason;
use crate::generate::row::{OutputRow, UnparsedRow};

/// The answers of many completions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Split {
    /// One row an answer, in the order of the completions.
    pub rows: Vec<OutputRow>,
    /// The parts that are no answer.
    pub unparsed: Vec<UnparsedRow>,
    /// Counts of both.
    pub counts: AnswerCounts,
}

/// Counts of the answers in completions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerCounts {
    /// Completions.
    pub completions: usize,
    /// Answers, which are rows.
    pub answers: usize,
    /// Answers that were asked for and are not there.
    pub missing: usize,
    /// Answers without a probability in [0, 1].
    pub without_probability: usize,
    /// Parts of completions that are no answer, by reason.
    pub unparsed: BTreeMap<&'static str, usize>,
}

/// Splits completions that were asked for `answers` answers each. Answer j of completion i is sample
/// `i * answers + j`.
pub fn split(completions: &[OutputRow], answers: usize) -> Split {
    let mut split = Split::default();
    let counts = &mut split.counts;
    counts.completions = completions.len();
    for completion in completions {
        let parsed = parse(&completion.response, answers);
        counts.answers += parsed.answers.len();
        counts.missing += answers - parsed.answers.len();
        for (at, answer) in parsed.answers.into_iter().enumerate() {
            counts.without_probability += usize::from(answer.probability.is_none());
            // Only the text that the end of the completion cuts off is truncated.
            let is_truncated = completion.finish_reason == FinishReason::Length.name();
            let is_whole = is_truncated && !answer.is_cut_off;
            split.rows.push(OutputRow {
                sample: completion.sample * answers + at,
                response: answer.text,
                tokens: None,
                finish_reason: if is_whole {
                    FinishReason::Stop.name().to_owned()
                } else {
                    completion.finish_reason.clone()
                },
                probability: answer.probability,
                completion_index: Some(completion.sample),
                ..completion.clone()
            });
        }
        for unparsed in parsed.unparsed {
            let reason = unparsed.reason.name();
            *counts.unparsed.entry(reason).or_default() += 1;
            split.unparsed.push(UnparsedRow {
                prompt_id: completion.prompt_id.clone(),
                completion_index: completion.sample,
                reason: reason.to_owned(),
                text: unparsed.text,
            });
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(sample: usize, response: &str, finish_reason: &str) -> OutputRow {
        OutputRow {
            model: "m".to_owned(),
            prompt_id: "p".to_owned(),
            sample,
            prompt: "A king melts.".to_owned(),
            response: response.to_owned(),
            tokens: Some(7),
            finish_reason: finish_reason.to_owned(),
            probability: None,
            completion_index: None,
            adapter_scale: Some(0.5),
        }
    }

    #[test]
    fn answers_become_rows_and_everything_is_counted() {
        let completions = [
            completion(
                0,
                "<response><text>a</text><probability>0.5</probability></response><response><text>b",
                "length",
            ),
            completion(1, "no idea", "stop"),
            completion(
                2,
                r#"[{"text":"c"},{"text":""},{"text":"d","probability":1},{"text":"e"}]"#,
                "stop",
            ),
        ];
        let split = split(&completions, 2);
        let rows: Vec<_> = split
            .rows
            .iter()
            .map(|row| {
                (
                    row.sample,
                    row.response.as_str(),
                    row.probability,
                    row.finish_reason.as_str(),
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                (0, "a", Some(0.5), "stop"),
                (1, "b", None, "length"),
                (4, "c", None, "stop"),
                (5, "d", Some(1.0), "stop"),
            ]
        );
        assert!(
            split
                .rows
                .iter()
                .all(|row| row.tokens.is_none() && row.adapter_scale == Some(0.5))
        );
        assert_eq!(split.rows[2].completion_index, Some(2));
        let counts = split.counts;
        assert_eq!(
            (counts.completions, counts.answers, counts.missing),
            (3, 4, 2)
        );
        assert_eq!(counts.without_probability, 2);
        let unparsed: Vec<_> = counts.unparsed.into_iter().collect();
        assert_eq!(
            unparsed,
            [("empty_text", 1), ("no_answer", 1), ("too_many", 1)]
        );
        assert_eq!(split.unparsed.len(), 3);
        assert_eq!(split.unparsed[0].text, "no idea");
    }
}
