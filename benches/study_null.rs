//! Human studies of two equal models: how often `study read` finds a difference, and how often its 95 % intervals
//! hold the true win rate: `cargo bench --bench study_null`.
//!
//! Every study is written as a table of answers and read by the function behind `polyphony study read`. Nobody
//! prefers a model: an answer is for either with 45 %, and undecided with 10 %. Annotators of an item agree more
//! often than chance, because the item has a latent answer that each of them gives with some probability, and
//! otherwise an answer of their own. `SHEETS=2000` sets the number of studies.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, and prints what it found"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use polyphony_eval::study::statistics::WinRate;
use polyphony_eval::study::{Item, Key, answers};
use polyphony_io::progress::NoProgress;
use polyphony_io::random::SplitMix64;

/// The probability of an answer for a model.
const WIN: f64 = 0.45;

/// The design of a study.
struct Design {
    items: usize,
    annotators: usize,
    /// The probability that two annotators of an item give the same answer.
    agreement: f64,
}

const DESIGNS: [Design; 4] = [
    Design {
        items: 25,
        annotators: 1,
        agreement: 1.0,
    },
    Design {
        items: 50,
        annotators: 1,
        agreement: 1.0,
    },
    Design {
        items: 50,
        annotators: 3,
        agreement: 0.7,
    },
    Design {
        items: 25,
        annotators: 5,
        agreement: 0.7,
    },
];

/// An answer without preference: A, B or undecided.
fn draw(random: &mut SplitMix64) -> &'static str {
    match uniform(random) {
        x if x < WIN => "A",
        x if x < 2.0 * WIN => "B",
        _ => "hard to decide",
    }
}

/// A uniform random number, 0 to 1.
fn uniform(random: &mut SplitMix64) -> f64 {
    random.below(1 << 30) as f64 / f64::from(1_u32 << 30)
}

/// The table of answers of a study.
fn table(design: &Design, random: &mut SplitMix64) -> String {
    // Two answers are equal if both are the latent one, or else by chance.
    let chance = 2.0 * WIN * WIN + (1.0 - 2.0 * WIN).powi(2);
    let latent_share = ((design.agreement - chance) / (1.0 - chance)).sqrt();
    let mut text = String::from("id,annotator,quality\n");
    for item in 0..design.items {
        let latent = draw(random);
        for annotator in 0..design.annotators {
            let answer = if uniform(random) < latent_share {
                latent
            } else {
                draw(random)
            };
            let _ = writeln!(text, "{item},{annotator},{answer}");
        }
    }
    text
}

fn main() {
    let sheets = std::env::var("SHEETS").map_or(2000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("answers.csv");
    println!(
        "| items | answers an item | agreement | sign test | two proportions | Fisher | Clopper-Pearson \
         (decided) | bootstrap over items (answers) |\n|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    for design in &DESIGNS {
        let mut random = SplitMix64(17);
        let sides: Vec<usize> = (0..design.items).map(|item| item % 2).collect();
        let item = |&a: &usize| Item {
            prompt_id: String::new(),
            a,
        };
        let ids = (0..design.items).map(|id| id.to_string());
        let key = Key {
            format: "polyphony-study".to_owned(),
            models: ["one", "other"].map(str::to_owned),
            seed: 0,
            inputs: BTreeMap::new(),
            items: ids.zip(sides.iter().map(item)).collect(),
        };
        let mut counts = [0_usize; 5];
        for _ in 0..sheets {
            fs::write(&file, table(design, &mut random)).unwrap();
            let files = std::slice::from_ref(&file);
            let study = answers::read(&key, files, (1000, 1), &NoProgress).unwrap();
            let result = &study.questions[0];
            let paper = result.assuming_independent_answers;
            let holds = |rate: WinRate, truth: f64| {
                rate.ci_low.unwrap() <= truth && truth <= rate.ci_high.unwrap()
            };
            let found = [
                result.p_sign < 0.05,
                paper.p_two_proportions < 0.05,
                paper.p_fisher < 0.05,
                result
                    .decided_win_rates
                    .is_none_or(|rates| holds(rates[0], 0.5)),
                holds(result.answer_win_rates[0], WIN),
            ];
            for (count, found) in counts.iter_mut().zip(found) {
                *count += usize::from(found);
            }
        }
        let percent =
            counts.map(|count| format!("{:.1} %", 100.0 * count as f64 / f64::from(sheets)));
        println!(
            "| {} | {} | {:.0} % | {} |",
            design.items,
            design.annotators,
            100.0 * design.agreement,
            percent.join(" | ")
        );
    }
}
