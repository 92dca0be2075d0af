//! Coverage of the 95 % confidence intervals and regions of reports: `cargo bench --bench coverage`.
//!
//! Draws many samples of 6 to 100 prompts from distributions whose mean is known, and counts how often an interval
//! holds it: for means, for paired differences, for the ellipse of two means, and for differences of models of
//! several training runs. Beside the intervals of reports it counts others: percentile and bias-corrected
//! bootstrap, Student's.
//! The tables are Markdown, as in `benches/README.md`. `SIMULATIONS=500` sets the number of samples.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, and prints what it found"
)]

use polyphony_eval::stats::bootstrap::{BootstrapIndices, percentile};
use polyphony_eval::stats::ellipse::ellipse;
use polyphony_eval::stats::mean::{mean, se, t_interval};
use polyphony_eval::stats::two_level::TwoLevel;
use polyphony_io::random::SplitMix64;
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF as _, Normal};

/// The numbers of prompts.
const PROMPTS: [usize; 4] = [6, 12, 30, 100];
const RESAMPLES: usize = 999;

/// A random number generator with the distributions of the bench.
struct Draw(SplitMix64);

impl Draw {
    fn new(seed: usize) -> Self {
        Self(SplitMix64::seed_from_u64(seed as u64))
    }

    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.0.next_f64(), self.0.next_f64());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.0.next_f64()).ln()
    }

    fn lognormal(&mut self, sigma: f64) -> f64 {
        (sigma * self.normal()).exp()
    }
}

/// A distribution by name, with its mean.
type Case = (&'static str, fn(&mut Draw) -> f64, f64);

/// An interval of the mean of values, given bootstrap resamples.
type Interval = fn(&[f64], &BootstrapIndices) -> Option<[f64; 2]>;

fn main() {
    let simulations = std::env::var("SIMULATIONS").ok();
    let simulations = simulations.map_or(1000, |text| text.parse().unwrap());
    // exp(sigma^2 / 2) is the mean of a lognormal variable.
    let lognormal_half = 0.125_f64.exp();
    let means: [Case; 4] = [
        ("normal", Draw::normal, 0.0),
        ("exponential (skewness 2)", Draw::exponential, 1.0),
        (
            "lognormal 0.5 (1.75)",
            |draw| draw.lognormal(0.5),
            lognormal_half,
        ),
        (
            "lognormal 1 (6.2)",
            |draw| draw.lognormal(1.0),
            0.5_f64.exp(),
        ),
    ];
    println!(
        "Means of values of each distribution; `report`: the interval of reports, bootstrap-t.\n"
    );
    let methods: [(&str, Interval); 4] = [
        ("percentile", |values, resamples| {
            Some(percentile_interval(values, resamples))
        }),
        ("BCa", |values, resamples| {
            Some(bca_interval(values, resamples))
        }),
        ("Student", |values, _| t_interval(values)),
        ("**report**", |values, resamples| {
            resamples.mean_interval(values)
        }),
    ];
    intervals(&means, &methods, simulations);
    let differences: [Case; 5] = [
        (
            "normal",
            |draw| 0.5 + draw.normal() - 0.5 * draw.normal(),
            0.5,
        ),
        (
            "exponential, b twice as wide",
            |draw| draw.exponential() - 0.5 * draw.exponential(),
            0.5,
        ),
        (
            "exponential, both alike",
            |draw| draw.exponential() - draw.exponential(),
            0.0,
        ),
        (
            "lognormal 0.5, both alike",
            |draw| draw.lognormal(0.5) - draw.lognormal(0.5),
            0.0,
        ),
        (
            "lognormal 1, both alike",
            |draw| draw.lognormal(1.0) - draw.lognormal(1.0),
            0.0,
        ),
    ];
    println!(
        "\nPaired differences b - a; `report`: bootstrap-t with quantiles averaged with Student's.\n"
    );
    let methods: [(&str, Interval); 5] = [
        methods[0],
        methods[1],
        methods[2],
        ("bootstrap-t", |values, resamples| {
            resamples.mean_interval(values)
        }),
        ("**report**", |values, resamples| {
            resamples.difference_interval(values)
        }),
    ];
    intervals(&differences, &methods, simulations);
    ellipses(simulations);
    runs(simulations / 2);
}

/// Prints the table header of methods by number of prompts.
fn head(first: &[&str], columns: &[String]) {
    println!("| {} | {} |", first.join(" | "), columns.join(" | "));
    println!(
        "|{}{}",
        "---|".repeat(first.len()),
        "--:|".repeat(columns.len())
    );
}

/// The share of `simulations` where `is_covered` holds, of each of its counts.
fn shares<const N: usize>(
    simulations: usize,
    is_covered: impl Fn(usize) -> [bool; N] + Send + Sync,
) -> [f64; N] {
    let covered: Vec<[bool; N]> = (0..simulations).into_par_iter().map(is_covered).collect();
    std::array::from_fn(|at| {
        let count = covered.iter().filter(|of| of[at]).count();
        count as f64 / simulations as f64
    })
}

fn holds(interval: Option<[f64; 2]>, value: f64) -> bool {
    interval.is_some_and(|[low, high]| low <= value && value <= high)
}

fn intervals<const N: usize>(cases: &[Case], methods: &[(&str, Interval); N], simulations: usize) {
    head(&["", "interval"], &PROMPTS.map(|n| format!("n = {n}")));
    for (at, (name, draw, expected)) in cases.iter().enumerate() {
        let columns = PROMPTS.map(|n| {
            shares(simulations, |simulation| {
                let seed = (at * 1000 + n) * 100_000 + simulation;
                let mut source = Draw::new(seed);
                let values: Vec<f64> = (0..n).map(|_| draw(&mut source)).collect();
                let resamples = BootstrapIndices::new(n, RESAMPLES, seed as u64);
                methods.map(|(_, interval)| holds(interval(&values, &resamples), *expected))
            })
        });
        for (method, (label, _)) in methods.iter().enumerate() {
            let cells = columns.map(|of| format!("{:.3}", of[method])).join(" | ");
            println!(
                "| {} | {label} | {cells} |",
                if method == 0 { name } else { "" }
            );
        }
    }
}

fn percentile_interval(values: &[f64], resamples: &BootstrapIndices) -> [f64; 2] {
    let means = resamples.means(values);
    [percentile(&means, 0.025), percentile(&means, 0.975)]
}

/// The bias-corrected and accelerated bootstrap (Efron 1987), as `scipy.stats.bootstrap`.
fn bca_interval(values: &[f64], resamples: &BootstrapIndices) -> [f64; 2] {
    let (center, normal) = (mean(values), Normal::standard());
    let means = resamples.means(values);
    let below = means.iter().filter(|mean| **mean < center).count() as f64;
    let equal = means.iter().filter(|mean| **mean == center).count() as f64;
    let bias = normal.inverse_cdf((below + equal / 2.0) / means.len() as f64);
    let power = |k| {
        values
            .iter()
            .map(|value| (value - center).powi(k))
            .sum::<f64>()
    };
    let acceleration = power(3) / (6.0 * power(2).powf(1.5));
    let bound = |share: f64| {
        let z = bias + normal.inverse_cdf(share);
        percentile(&means, normal.cdf(bias + z / (1.0 - acceleration * z)))
    };
    [bound(0.025), bound(0.975)]
}

/// The ellipse of two means, beside that of chi-squared with 5.99 instead of Hotelling's T-squared.
fn ellipses(simulations: usize) {
    println!("\nEllipses of two means with correlation 0.5.\n");
    head(&["", "radius"], &PROMPTS.map(|n| format!("n = {n}")));
    let cases: [Case; 2] = [
        ("normal", Draw::normal, 0.0),
        ("exponential", Draw::exponential, 1.0),
    ];
    for (at, (name, draw, expected)) in cases.iter().enumerate() {
        let columns = PROMPTS.map(|n| {
            // Both radii are factors of the same ellipse.
            let freedom = n as f64 - 1.0;
            let t_squared = freedom * (0.05_f64.powf(-2.0 / (freedom - 1.0)) - 1.0);
            let factors = [(5.991_464_547_107_979 / t_squared).sqrt(), 1.0];
            shares(simulations, |simulation| {
                let mut source = Draw::new((at * 1000 + n) * 100_000 + simulation);
                let pairs = (0..n).map(|_| {
                    let (one, other) = (draw(&mut source), draw(&mut source));
                    (one, 0.5 * one + 0.75_f64.sqrt() * other)
                });
                let (x, y): (Vec<f64>, Vec<f64>) = pairs.unzip();
                let region = ellipse(&x, &y).unwrap();
                let (sin, cos) = region.angle.to_radians().sin_cos();
                let dx = expected - region.center[0];
                let dy = expected * (0.5 + 0.75_f64.sqrt()) - region.center[1];
                let along = (dx * cos + dy * sin) / region.half_axes[0];
                let across = (dy * cos - dx * sin) / region.half_axes[1];
                factors.map(|factor| f64::hypot(along, across) <= factor)
            })
        });
        for (method, label) in ["chi-squared", "**report**"].into_iter().enumerate() {
            let cells = columns.map(|of| format!("{:.3}", of[method])).join(" | ");
            println!(
                "| {} | {label} | {cells} |",
                if method == 0 { name } else { "" }
            );
        }
    }
}

/// The values of a model's runs, by run and prompt: an effect of the run, and one of the run at the prompt.
fn run_values(source: &mut Draw, runs: usize, prompts: usize, run_sd: f64) -> Vec<Vec<f64>> {
    let of_run = |_| {
        let effect = run_sd * source.normal();
        (0..prompts)
            .map(|_| effect + 0.7 * source.normal())
            .collect()
    };
    (0..runs).map(of_run).collect()
}

/// The difference of two models of several runs, 30 prompts, whose true difference is 0: at each prompt their
/// difference has a standard deviation of 0.5, each run of a model at a prompt one of 0.7 and each run as a whole the
/// given one of its model.
fn runs(simulations: usize) {
    const N: usize = 30;
    println!("\nDifferences of two models of several training runs, {N} prompts.\n");
    let sds = [[0.0, 0.0], [0.1, 0.1], [0.3, 0.3], [1.0, 1.0], [0.0, 1.0]];
    head(
        &["runs of each", "interval"],
        &sds.map(|[a, b]| format!("sd of runs {a}, {b}")),
    );
    for count in [2, 3, 5] {
        let columns = sds.map(|sd| {
            shares(simulations, |simulation| {
                let case = (sd[0] * 10.0 + sd[1] * 1000.0) as usize * 10 + count;
                let mut source = Draw::new(case * 100_000 + simulation);
                let sides = sd.map(|sd| run_values(&mut source, count, N, sd));
                let prompts: Vec<f64> = (0..N).map(|_| 0.5 * source.normal()).collect();
                covered_with_runs(&sides, &prompts, simulation as u64)
            })
        });
        for (method, label) in ["prompts alone", "two-level bootstrap", "**report**"]
            .into_iter()
            .enumerate()
        {
            let cells = columns.map(|of| format!("{:.3}", of[method])).join(" | ");
            println!(
                "| {} | {label} | {cells} |",
                if method == 0 {
                    count.to_string()
                } else {
                    String::new()
                }
            );
        }
    }
}

/// Whether the interval over prompts alone, the percentile interval of a bootstrap of runs and prompts, and the
/// interval of reports hold the true difference, 0.
fn covered_with_runs(sides: &[Vec<Vec<f64>>; 2], prompts: &[f64], seed: u64) -> [bool; 3] {
    const RESAMPLES: usize = 499;
    let n = prompts.len();
    let at_prompt = |side: &Vec<Vec<f64>>, prompt: usize| {
        side.iter().map(|run| run[prompt]).sum::<f64>() / side.len() as f64
    };
    let differences: Vec<f64> = (0..n)
        .map(|at| at_prompt(&sides[1], at) - at_prompt(&sides[0], at) + prompts[at])
        .collect();
    let run_means = [0, 1].map(|side: usize| {
        sides[side]
            .iter()
            .map(|run| mean(run))
            .collect::<Vec<f64>>()
    });
    let resamples = BootstrapIndices::new(n, RESAMPLES, seed);
    let mut random = SplitMix64::seed_from_u64(seed);
    let mut two_level: Vec<f64> = resamples
        .rows()
        .map(|row| {
            let over = |value: &dyn Fn(usize) -> f64| {
                row.iter().map(|&at| value(at as usize)).sum::<f64>() / n as f64
            };
            let mut of_side = |side: &Vec<Vec<f64>>| {
                let runs = (0..side.len()).map(|_| random.below(side.len()));
                runs.map(|run| over(&|at| side[run][at])).sum::<f64>() / side.len() as f64
            };
            of_side(&sides[1]) - of_side(&sides[0]) + over(&|at| prompts[at])
        })
        .collect();
    two_level.sort_unstable_by(f64::total_cmp);
    let error = TwoLevel::new(&differences, &[&run_means[0], &run_means[1]]).unwrap();
    debug_assert!(error.se >= se(&differences));
    [
        holds(resamples.difference_interval(&differences), 0.0),
        holds(
            Some([percentile(&two_level, 0.025), percentile(&two_level, 0.975)]),
            0.0,
        ),
        holds(Some(error.interval(mean(&differences))), 0.0),
    ]
}
