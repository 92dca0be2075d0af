//! Summaries of `polyphony generate`: what was written, what is missing and why.

use std::path::Path;

use polyphony_io::{Error, Result};
use polyphony_model::generate::job::Summary;
use polyphony_model::generate::row::{UNPARSED, with_ending};
use polyphony_model::generate::verbalized::AnswerCounts;

use crate::cli::terminal;

/// Prints the summary of one output file.
///
/// # Errors
/// When Ctrl-C stopped the run before all texts were written.
pub(super) fn print_summary(summary: &Summary, out: &Path) -> Result<()> {
    let completions = summary.written + summary.resumed;
    let texts = match &summary.answers {
        None => format!("{completions} texts"),
        Some(answers) => format!("{} answers of {completions} completions", answers.answers),
    };
    terminal::result(&format!(
        "{texts} in {} ({} truncated at --max-tokens), {:.0} tokens/s",
        out.display(),
        summary.truncated,
        summary.tokens_per_second,
    ));
    if let Some(answers) = &summary.answers {
        print_answers(answers, out);
    }
    if summary.remaining > 0 {
        let remaining = summary.remaining;
        let message = format!("{remaining} texts remain: run the same command to resume");
        return Err(Error::Cancelled(message));
    }
    Ok(())
}

/// Prints which answers are missing or could not be read.
pub(super) fn print_answers(answers: &AnswerCounts, out: &Path) {
    if answers.missing > 0 || !answers.unparsed.is_empty() {
        let AnswerCounts { missing, .. } = answers;
        let wanted = missing + answers.answers;
        let reasons = reasons(&answers.unparsed, out);
        terminal::print_message(&format!(
            "{missing} of {wanted} answers are missing{reasons}"
        ));
    }
    if answers.without_probability > 0 {
        let (without, all) = (answers.without_probability, answers.answers);
        terminal::print_message(&format!(
            "{without} of {all} answers are without a probability from 0 to 1"
        ));
    }
}

/// Counts by reason, and where the texts are: `; not read: 2 no_answer, see out.jsonl.unparsed`.
pub(super) fn reasons<'a>(
    counts: impl IntoIterator<Item = (&'a &'static str, &'a usize)>,
    out: &Path,
) -> String {
    let counts = counts.into_iter();
    let counts: Vec<String> = counts
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if counts.is_empty() {
        return String::new();
    }
    let file = with_ending(out, UNPARSED);
    format!("; not read: {}, see {}", counts.join(", "), file.display())
}
