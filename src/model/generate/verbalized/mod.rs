//! Verbalized sampling (Zhang et al. 2025, arXiv 2510.01171): one completion holds several answers, each with the
//! probability that the model gives it; the answers become rows.
//!
//! It needs no training, so it is a baseline for methods that train.

mod answers;
mod json;
mod lenient_json;
mod probability;
mod split;
mod tagged;

pub use answers::{Answer, ParsedCompletion, Reason, Unparsed, parse};
pub use split::{AnswerCounts, Split, split};

/// The options of verbalized sampling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerbalizedOptions {
    /// Number of answers in one completion, at least 1.
    pub answers: usize,
    /// Ask only for answers less probable than this, in (0, 1]: the tails of the distribution (section 5 of the
    /// paper: diversity tuning).
    pub max_probability: Option<f64>,
}

impl VerbalizedOptions {
    /// The prompt with the instruction before it.
    pub fn prompt(self, prompt: &str) -> String {
        let Self { answers, .. } = self;
        let noun = if answers == 1 {
            "answer"
        } else {
            "different answers"
        };
        let tails = self.max_probability.map_or_else(String::new, |limit| {
            format!(" Give only answers whose probability is below {limit}.")
        });
        format!(
            "Write {answers} {noun} to the task that follows these instructions. Draw the answers at random \
             from all that you might write, not only from the likeliest.{tails} Give each answer in full and \
             with its probability, a number from 0 to 1 that tells how likely you are to write it, in this \
             form:\n\n\
             <response>\n<text>ANSWER</text>\n<probability>NUMBER</probability>\n</response>\n\n\
             Write nothing else.\n\nTask:\n{prompt}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instruction_comes_before_the_prompt_and_is_not_read_as_an_answer() {
        let options = VerbalizedOptions {
            answers: 3,
            max_probability: None,
        };
        let prompt = options.prompt("A king melts.");
        assert!(prompt.starts_with("Write 3 different answers"));
        assert!(prompt.ends_with("Task:\nA king melts."));
        assert!(!prompt.contains("below"));
        let tails = VerbalizedOptions {
            max_probability: Some(0.1),
            ..options
        };
        assert!(tails.prompt("p").contains("probability is below 0.1."));
        // The format that is asked for is the format that is read.
        let parsed = parse(&prompt, 9);
        assert_eq!(parsed.answers[0].text, "ANSWER");
    }
}
