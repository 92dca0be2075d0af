//! Synthetic Reddit dump of any size, with the paper's distribution of responses per prompt:
//! `cargo bench --bench corpus -- DIR [PROMPTS] [SEED]`.
//!
//! 95,805 prompts (the default) with 4.4 responses each and a long tail to 500, stories of 500
//! words on average, and the noise of real dumps: replies, notices, removed texts. The same random
//! seed gives the same bytes. Words are random letters; their frequencies follow Zipf's law.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use polyphony_io::random::SplitMix64;

const PROMPTS: u64 = 95_805;
const LONGEST_TAIL: f64 = 500.0;
/// The exponent of the power law of responses per prompt; 1.17 gives a mean of 4.4.
const TAIL: f64 = 1.17;
const VOCABULARY: usize = 30_000;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let Some(folder) = arguments.next() else {
        // `cargo bench` runs every bench without arguments: nothing to do then.
        return Ok(());
    };
    let prompts = arguments
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(PROMPTS);
    let seed = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    write(Path::new(&folder), prompts, seed)
}

/// Writes a file of submissions and a file of comments.
fn write(folder: &Path, prompts: u64, seed: u64) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let open = |name: &str| File::create(folder.join(name)).map(BufWriter::new);
    let mut submissions = open("RS_corpus.jsonl")?;
    let mut comments = open("RC_corpus.jsonl")?;
    let mut random = SplitMix64(seed);
    let words = vocabulary(&mut random);
    let (mut id, mut responses) = (60_000_000_u64, 0_u64);
    for prompt in 0..prompts {
        let link = base36(50_000_000 + prompt * 7);
        let time = 1_546_300_800 + prompt * 60;
        let title = story(&words, 25, &mut random);
        writeln!(
            submissions,
            r#"{{"author":"user_{}","created_utc":{time},"distinguished":null,"edited":false,"id":"{link}","is_self":true,"link_flair_text":"Writing Prompt","num_comments":4,"over_18":false,"permalink":"/r/WritingPrompts/comments/{link}/","removed_by_category":null,"retrieved_on":{},"score":{},"selftext":"","stickied":false,"subreddit":"WritingPrompts","subreddit_id":"t5_2s3nb","title":"[WP] {title}","upvote_ratio":0.9}}"#,
            below(&mut random, 90_000),
            time + 130_000,
            votes(&mut random),
        )?;
        let mut comment = |author: &str,
                           body: &str,
                           parent: &str,
                           votes: u64|
         -> std::io::Result<()> {
            id += 1 + below(&mut random, 9);
            writeln!(
                comments,
                r#"{{"author":"{author}","body":"{body}","controversiality":0,"created_utc":{time},"distinguished":null,"edited":false,"gilded":0,"id":"{}","is_submitter":false,"link_id":"t3_{link}","parent_id":"{parent}","permalink":"/r/WritingPrompts/comments/{link}/_/","retrieved_on":{},"score":{votes},"score_hidden":false,"stickied":false,"subreddit":"WritingPrompts","subreddit_id":"t5_2s3nb"}}"#,
                base36(id),
                time + 130_000,
            )
        };
        let top = format!("t3_{link}");
        comment(
            "AutoModerator",
            "**Welcome to the Prompt!** Reply here for other comments.",
            &top,
            1,
        )?;
        let mut random = SplitMix64(seed ^ (prompt + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
        let count = positive_unit(&mut random)
            .powf(-1.0 / TAIL)
            .min(LONGEST_TAIL) as u64;
        for _ in 0..count {
            let length = 120
                + (760.0 * positive_unit(&mut random) * positive_unit(&mut random) * 2.0) as usize;
            let text = story(&words, length, &mut random);
            let author = format!("user_{}", below(&mut random, 90_000));
            comment(&author, &text, &top, votes(&mut random))?;
            responses += 1;
            if below(&mut random, 3) == 0 {
                comment(
                    &author,
                    "This was wonderful, I would read more.",
                    "t1_reply",
                    3,
                )?;
            }
            if below(&mut random, 12) == 0 {
                comment("[deleted]", "[removed]", &top, 1)?;
            }
        }
    }
    submissions.flush()?;
    comments.flush()?;
    let summary = format!(
        "{prompts} prompts, {responses} responses in {}\n",
        folder.display()
    );
    std::io::stdout().write_all(summary.as_bytes())
}

/// A vocabulary of made-up words; frequent words are short.
fn vocabulary(random: &mut SplitMix64) -> Vec<String> {
    (0..VOCABULARY)
        .map(|rank| {
            let length = 1 + (rank + 1).ilog10() as usize + below(random, 4) as usize;
            (0..length.max(2))
                .map(|at| {
                    let letters: &[u8] = if at % 2 == 0 {
                        b"tnshrdlcmwfgypbvk"
                    } else {
                        b"eaoiu"
                    };
                    letters[below(random, letters.len() as u64) as usize] as char
                })
                .collect()
        })
        .collect()
}

/// A story of `length` words, sampled by Zipf's law, as an escaped JSON string.
fn story(words: &[String], length: usize, random: &mut SplitMix64) -> String {
    let mut text = String::with_capacity(length * 6);
    for at in 0..length {
        let rank = (VOCABULARY as f64).powf(positive_unit(random)) as usize - 1;
        text.push_str(&words[rank.min(VOCABULARY - 1)]);
        text.push_str(match (at % 12, at % 90) {
            (_, 89) => ".\\n\\n",
            (11, _) => ". ",
            (5, _) => ", ",
            _ => " ",
        });
    }
    text
}

/// A number in base 36, as in Reddit's ids.
fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize] as char);
        number /= 36;
    }
    digits.iter().rev().collect()
}

/// A random number, uniform in (0, 1]: without 0, negative powers are finite.
fn positive_unit(random: &mut SplitMix64) -> f64 {
    ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// A random number below `bound`.
fn below(random: &mut SplitMix64, bound: u64) -> u64 {
    random.next_u64() % bound
}

/// A random number of votes, by a power law with many ones.
fn votes(random: &mut SplitMix64) -> u64 {
    positive_unit(random).powf(-0.9).min(20_000.0) as u64
}
