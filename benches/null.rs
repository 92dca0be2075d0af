//! P-values of reports where no model differs from another: `cargo bench --bench null`.
//!
//! Every report compares four models in five measures, whose values are an effect of the prompt and independent
//! noise. The tables give how often a single test has p < 0.05, and how often a report has any such test before and
//! after correction. With several training runs the noise includes an effect of the run.
//! `REPORTS=100` sets the number of reports.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, and prints what it found"
)]

use polyphony_eval::compare::comparisons::{Difference, comparisons};
use polyphony_eval::config::ResamplingConfig;
use polyphony_eval::evaluation::{Evaluation, ModelPrompt, Run};
use polyphony_eval::measures::registry::{column_index, columns};
use polyphony_eval::space::PerSpace;
use polyphony_eval::stats::bootstrap::BootstrapCache;
use polyphony_io::random::SplitMix64;
use rayon::prelude::*;

const MODELS: usize = 4;
const MEASURES: [&str; 5] = ["reward", "semantic", "style", "homogenization", "words"];

/// The distribution of the noise.
type Noise = fn(&mut SplitMix64) -> f64;

fn main() {
    let reports = std::env::var("REPORTS").ok();
    let reports: usize = reports.map_or(300, |text| text.parse().unwrap());
    let noises: [(&str, Noise); 2] = [("normal", normal), ("exponential", exponential)];
    println!(
        "{MODELS} models of one run, {} measures, {reports} reports a row.\n",
        MEASURES.len()
    );
    println!(
        "| noise | prompts | permutation p < .05 | sign | Wilcoxon | any p < .05 | any Holm < .05 | any BH < .05 |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (name, noise) in noises {
        for prompts in [6, 12, 30] {
            let all = simulated(reports, |seed| evaluation(seed, prompts, noise, 1, 0.0));
            println!(
                "| {name} | {prompts} | {} | {} | {} | {} |",
                share(&all, |test| test.p_permutation),
                share(&all, |test| test.p_sign),
                share(&all, |test| test.p_wilcoxon.unwrap_or(1.0)),
                any(&all, |test| Some(test.p_permutation))
            );
        }
    }
    println!(
        "\nModels of several runs, 30 prompts, normal noise; the corrections are those of the p-value over runs and prompts.\n"
    );
    println!(
        "| runs | sd of runs | permutation p < .05 | p over runs and prompts | any p < .05 | any Holm < .05 | any BH < .05 |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    for runs in [2, 3, 5] {
        for sd in [0.1, 1.0] {
            let all = simulated(reports, |seed| evaluation(seed, 30, normal, runs, sd));
            println!(
                "| {runs} | {sd} | {} | {} | {} |",
                share(&all, |test| test.p_permutation),
                share(&all, |test| test.p_runs.unwrap()),
                any(&all, |test| test.p_runs)
            );
        }
    }
}

/// All differences of each report.
fn simulated(
    reports: usize,
    evaluation: impl Fn(u64) -> Evaluation<'static> + Sync,
) -> Vec<Vec<Difference>> {
    let of_report = |number: usize| {
        let seed = number as u64;
        let resampling = ResamplingConfig {
            bootstrap_samples: 100,
            permutations: 999,
            seed,
        };
        let bootstrap = BootstrapCache::new(resampling.bootstrap_samples, seed);
        let compared = comparisons(&evaluation(seed), &[], resampling, &bootstrap);
        let values = compared.iter().flat_map(|pair| &pair.values);
        values.filter_map(|(_, difference)| *difference).collect()
    };
    (0..reports).into_par_iter().map(of_report).collect()
}

/// The share of tests with p below 0.05.
fn share(reports: &[Vec<Difference>], p: impl Fn(&Difference) -> f64) -> String {
    let tests = reports.iter().flatten();
    let total = tests.clone().count() as f64;
    let below = tests.filter(|test| p(test) < 0.05).count() as f64;
    format!("{:.1} %", 100.0 * below / total)
}

/// The shares of reports with any p below 0.05: the given one, after Holm's correction, after Benjamini-Hochberg's.
fn any(reports: &[Vec<Difference>], p: impl Fn(&Difference) -> Option<f64>) -> String {
    let share = |p: &dyn Fn(&Difference) -> Option<f64>| {
        let is_below = |test: &Difference| p(test).unwrap() < 0.05;
        let found = reports
            .iter()
            .filter(|tests| tests.iter().any(is_below))
            .count();
        format!("{:.1} %", 100.0 * found as f64 / reports.len() as f64)
    };
    [
        share(&p),
        share(&|test| test.p_holm),
        share(&|test| test.p_bh),
    ]
    .join(" | ")
}

/// Models that do not differ: by prompt and measure an effect of the prompt, by model noise, by run more noise.
fn evaluation(
    seed: u64,
    prompts: usize,
    noise: Noise,
    runs: usize,
    run_sd: f64,
) -> Evaluation<'static> {
    let mut random = SplitMix64::seed_from_u64(seed);
    let measures = MEASURES.map(|name| column_index(name).unwrap());
    let effects: Vec<[f64; 5]> = (0..prompts)
        .map(|_| [0; 5].map(|_| normal(&mut random)))
        .collect();
    let models: Vec<Vec<Run>> = (0..MODELS)
        .map(|_| {
            let of_run = |seed: usize| {
                let run_effects = [0; 5].map(|_| run_sd * normal(&mut random));
                let values = effects.iter().map(|prompt| {
                    let mut values = vec![None; columns().len()];
                    for (at, column) in measures.into_iter().enumerate() {
                        // Far from 0, since words are lengths.
                        values[column] =
                            Some(20.0 + prompt[at] + run_effects[at] + noise(&mut random));
                    }
                    Some(values)
                });
                Run {
                    seed: seed.to_string(),
                    responses: prompts,
                    values: values.collect(),
                }
            };
            (0..runs).map(of_run).collect()
        })
        .collect();
    let pooled = |runs: &Vec<Run>, prompt: usize| {
        let value = |column: usize| {
            let values = runs.iter().map(|run| run.values[prompt].as_ref()?[column]);
            let sum: f64 = values.collect::<Option<Vec<f64>>>()?.iter().sum();
            Some(sum / runs.len() as f64)
        };
        ModelPrompt {
            texts: Vec::new(),
            values: (0..columns().len()).map(value).collect(),
            sums: PerSpace::default(),
            vectors: PerSpace::default(),
        }
    };
    let cells = models
        .iter()
        .map(|runs| (0..prompts).map(|at| Some(pooled(runs, at))).collect());
    Evaluation {
        models: (0..MODELS).map(|at| format!("model {at}")).collect(),
        prompts: (0..prompts)
            .map(|at| (at.to_string(), String::new()))
            .collect(),
        cells: cells.collect(),
        runs: models
            .iter()
            .map(|of| if runs > 1 { of.clone() } else { Vec::new() })
            .collect(),
        k: 4,
        tokens: PerSpace::default(),
    }
}

fn normal(random: &mut SplitMix64) -> f64 {
    let (u, v) = (1.0 - random.next_f64(), random.next_f64());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn exponential(random: &mut SplitMix64) -> f64 {
    -(1.0 - random.next_f64()).ln()
}
