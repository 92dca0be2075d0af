"""Writes tests/fixtures/stats.json: golden values of intervals and ellipses, by numpy and scipy.

    python tests/peers/stats.py tests/fixtures/stats.json
"""

import json
import sys

import numpy as np
from scipy import optimize, stats

MASK = (1 << 64) - 1


def split_mix_64(seed):
    """SplitMix64 (Steele, Lea & Flood 2014), whose stream the resamples are drawn from."""
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def resamples(values, count, seed):
    n, stream = len(values), split_mix_64(seed)
    indices = [[(next(stream) * n) >> 64 for _ in range(n)] for _ in range(count)]
    return np.asarray(values)[np.asarray(indices)]


def intervals(values, count, seed):
    """The bootstrap-t interval (Efron & Tibshirani 1993, section 12.5), its quantiles within half and twice Student's,
    and the one whose quantiles are averaged with Student's."""
    n, mean, se = len(values), np.mean(values), stats.sem(values)
    drawn = resamples(values, count, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (drawn.mean(axis=1) - mean) / stats.sem(drawn, axis=1)
    constant = np.ptp(drawn, axis=1) == 0
    side = np.sign(drawn.mean(axis=1) - mean)[constant]
    t[constant] = np.where(side == 0, 0, np.copysign(np.inf, side))
    student = stats.t.ppf(0.975, n - 1)
    t = np.clip(t, -2 * student, 2 * student)
    low, high = np.percentile(t, [2.5, 97.5])
    low, high = min(low, -student / 2), max(high, student / 2)
    return {
        "mean": [mean - high * se, mean - low * se],
        "difference": [mean - (high + student) / 2 * se, mean - (low - student) / 2 * se],
        "resamples": count,
        "seed": seed,
        "values": list(values),
    }


def hotelling(x, y):
    """The half axes of the 95 % region of a bivariate mean: Hotelling's T-squared from the quantile of F."""
    n = len(x)
    covariance = np.cov(x, y) / n
    radius = 2 * (n - 1) / (n - 2) * stats.f.ppf(0.95, 2, n - 2)
    return {"x": list(x), "y": list(y), "half_axes": list(np.sqrt(np.linalg.eigvalsh(covariance)[::-1] * radius))}


def two_levels(prompts, runs):
    """Banerjee's (1961) interval for a sum of two means, the runs of both sides with a pooled variance; the p-value is
    where the interval ends at 0."""
    levels = [(np.var(prompts, ddof=1) / len(prompts), len(prompts) - 1)]
    if runs:
        freedom = sum(len(side) - 1 for side in runs)
        pooled = sum(np.var(side, ddof=1) * (len(side) - 1) for side in runs) / freedom
        levels.append((pooled * sum(1 / len(side) for side in runs), freedom))
    mean = np.mean(prompts)

    def half(p):
        return np.sqrt(sum(variance * stats.t.isf(p / 2, freedom) ** 2 for variance, freedom in levels))

    return {
        "prompts": list(prompts),
        "runs": [list(side) for side in runs],
        "se": np.sqrt(sum(variance for variance, _ in levels)),
        "interval": [mean - half(0.05), mean + half(0.05)],
        "p": optimize.brentq(lambda p: half(p) - abs(mean), 1e-9, 1, xtol=1e-15),
    }


def ellipse_of_runs(prompts, runs):
    """The half axes for a mean over prompts and runs, with Krishnamoorthy & Yu's (2004) degrees of freedom."""
    levels = [(np.cov(level) / level.shape[1], level.shape[1] - 1) for level in (prompts, runs)]
    total = sum(covariance for covariance, _ in levels)
    inverse = np.linalg.inv(total)
    shares = 0
    for covariance, degrees in levels:
        share = covariance @ inverse
        shares += (np.trace(share @ share) + np.trace(share) ** 2) / degrees
    v = 6 / shares
    radius = 2 * v / (v - 1) * stats.f.ppf(0.95, 2, v - 1)
    half_axes = np.sqrt(np.linalg.eigvalsh(total)[::-1] * radius)
    return {"prompts": prompts.tolist(), "runs": runs.tolist(), "freedom": v, "half_axes": list(half_axes)}


random = np.random.default_rng(20261127)
skewed = [np.round(random.lognormal(0, 1, n), 6).tolist() for n in (3, 6, 12, 30)]
ties = [0.0, 0.0, 0.0, 0.5, 0.0, -0.5, 0.0, 0.5]
golden = {
    "intervals": [intervals(values, 999, 7) for values in [*skewed, ties]],
    "hotelling": [hotelling(*np.round(random.normal(size=(2, n)), 6)) for n in (3, 5, 12, 100)],
    "two_level": [
        two_levels(np.round(random.normal(0.3, 1, 12), 6), [np.round(random.normal(0, 0.5, n), 6) for n in sizes])
        for sizes in ([], [2], [3, 5])
    ],
    "ellipse_of_runs": [
        ellipse_of_runs(np.round(random.normal(size=(2, 20)), 6), np.round(random.normal(size=(2, n)) / 2, 6))
        for n in (3, 6)
    ],
}
with open(sys.argv[1], "w") as file:
    json.dump(golden, file, indent=1)
    file.write("\n")
