"""Human study: golden values of its intervals and tests, by scipy, statsmodels and numpy.

    python3 tests/peers/study_intervals.py > tests/fixtures/study_intervals.json

Needs numpy, scipy and statsmodels. It shares no code with the program.
"""

import json

import numpy as np
from scipy.stats import binomtest, fisher_exact
from statsmodels.stats.proportion import proportion_confint, proportions_ztest

COUNTS = [(0, 1), (1, 1), (0, 20), (20, 20), (1, 2), (3, 10), (5, 10), (34, 50), (12, 50), (34, 46), (45, 50),
          (499, 1000), (7, 3000)]


def of_counts(won, trials):
    exact = binomtest(won, trials).proportion_ci(0.95, "exact")
    beta = proportion_confint(won, trials, method="beta")
    # statsmodels gives nan at the ends in old versions; scipy is the reference there.
    for ours, theirs in zip((exact.low, exact.high), beta):
        assert np.isnan(theirs) or abs(ours - theirs) < 1e-12, (won, trials, exact, beta)
    return {
        "won": won,
        "trials": trials,
        "wilson": [float(x) for x in proportion_confint(won, trials, method="wilson")],
        "clopper_pearson": [float(exact.low), float(exact.high)],
        "p_sign": float(binomtest(won, trials).pvalue),
    }


def study(seed, items, annotators, rates, agreement):
    """A study: the answers of each annotator to each item ("first", "second", "undecided") and what follows."""
    random = np.random.default_rng(seed)
    names = ["first", "second", "undecided"]
    answers = []
    for item in range(items):
        latent = random.choice(3, p=rates)
        # Some people skip some items: clusters differ in size.
        present = [a for a in range(annotators) if a == 0 or random.random() < 0.8]
        answers.append([int(latent if random.random() < agreement else random.choice(3, p=rates)) for _ in present])
    flat = np.array([answer for item in answers for answer in item])
    won = [int((flat == side).sum()) for side in (0, 1)]
    majority = [np.sign(item.count(0) - item.count(1)) for item in answers]
    items_won = [majority.count(1), majority.count(-1)]
    decided = sum(items_won)
    sizes = np.array([len(item) for item in answers])
    draws = random.integers(0, items, size=(400_000, items))
    shares = []
    for side in (0, 1):
        counts = np.array([item.count(side) for item in answers])
        ratio = counts[draws].sum(axis=1) / sizes[draws].sum(axis=1)
        shares.append([float(x) for x in np.percentile(ratio, [2.5, 97.5])])
    n = len(flat)
    table = [[won[0], n - won[0]], [won[1], n - won[1]]]
    exact = binomtest(items_won[0], decided).proportion_ci(0.95, "exact")
    return {
        "answers": [[names[answer] for answer in item] for item in answers],
        "won": won,
        "items_won": items_won,
        "p_sign": float(binomtest(items_won[0], decided).pvalue),
        "decided": [float(exact.low), float(exact.high)],
        "items_wilson": [[float(x) for x in proportion_confint(w, items, method="wilson")] for w in items_won],
        "answers_bootstrap": shares,
        "p_two_proportions": float(proportions_ztest(won, [n, n])[1]),
        "p_fisher": float(fisher_exact(table)[1]),
    }


print(json.dumps({
    "counts": [of_counts(*counts) for counts in COUNTS],
    "studies": [
        study(1, 25, 1, [0.55, 0.35, 0.10], 1.0),
        study(2, 50, 3, [0.45, 0.45, 0.10], 0.7),
        study(3, 40, 5, [0.60, 0.25, 0.15], 0.6),
    ],
}))
