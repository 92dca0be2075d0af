"""Overused terms: golden values of the exchange test, its intervals, the log-odds ratio and the terms of two groups.

    python3 tests/peers/overused_terms.py > tests/fixtures/overused_terms.json
    python3 tests/peers/overused_terms.py REPORT    # needs pyarrow; compares with REPORT/report.json, few prompts

Python alone, and no code of the program: probabilities are sums over all exchanges, in fractions up to 12 prompts and by
the exact distribution of the sum beyond; terms are counted in dictionaries, every n-gram of every text.
"""

import collections
import fractions
import itertools
import json
import math
import pathlib
import random
import sys
import unicodedata

Fraction = fractions.Fraction


# ---- The exchange test ----

def two_points(case):
    """The observed difference of each prompt, its values in favour of A and of B, and the probability of the first."""
    ratio = Fraction(case["ratio"])
    points = []
    for a, b, n_a, n_b in zip(case["a"], case["b"], case["n_a"], case["n_b"]):
        w = ratio * n_a / (ratio * n_a + n_b)
        d = a - (a + b) * w
        if d > 0:
            points.append((d, d, -d * w / (1 - w), w))
        elif d < 0:
            points.append((d, -d * (1 - w) / w, d, w))
    return points


def by_enumeration(points):
    """P(sum >= observed) and P(sum <= observed) over all 2^n exchanges, in fractions."""
    observed = sum(d for d, *_ in points)
    greater = less = Fraction(0)
    for sides in itertools.product((0, 1), repeat=len(points)):
        total, probability = Fraction(0), Fraction(1)
        for side, (_, for_a, for_b, w) in zip(sides, points):
            total += for_b if side else for_a
            probability *= 1 - w if side else w
        greater += probability * (total >= observed)
        less += probability * (total <= observed)
    return float(greater), float(less)


def by_distribution(points):
    """The same from the distribution of the sum, whose values are fractions; probabilities are floats."""
    observed = sum(d for d, *_ in points)
    sums = {Fraction(0): 1.0}
    for _, for_a, for_b, w in points:
        after = collections.defaultdict(float)
        for total, probability in sums.items():
            after[total + for_a] += probability * float(w)
            after[total + for_b] += probability * float(1 - w)
        sums = after
    greater = math.fsum(p for total, p in sums.items() if total >= observed)
    less = math.fsum(p for total, p in sums.items() if total <= observed)
    return greater, less


def counts(rng, prompts, mean_a, mean_b, sizes_a, sizes_b):
    def draw(mean):
        # Occurrences come in clumps.
        return sum(rng.randint(1, 3) for _ in range(3) if rng.random() < mean / 3)

    return {
        "a": [draw(mean_a) for _ in range(prompts)],
        "b": [draw(mean_b) for _ in range(prompts)],
        "n_a": [rng.choice(sizes_a) for _ in range(prompts)],
        "n_b": [rng.choice(sizes_b) for _ in range(prompts)],
    }


def test_cases(rng):
    cases = []

    def add(name, case, ratio=1.0, by=by_enumeration):
        case = {"name": name, "ratio": ratio, **case}
        points = two_points(case)
        gains = [for_a - for_b for _, for_a, for_b, _ in points]
        case["exact"] = len(points) <= 16 or sum(gain.denominator > 1 for gain in gains) <= 12
        case["p_greater"], case["p_less"] = by(points)
        cases.append(case)

    only = {"a": [1] * 10, "b": [0] * 10, "n_a": [200] * 10, "n_b": [100] * 10}
    add("all on the longer side", only)
    add("all on the longer side, ratio 3", only, 3.0)
    for number in range(8):
        prompts = rng.randint(6, 12)
        sizes = [rng.randint(50, 900) for _ in range(6)]
        case = counts(rng, prompts, rng.uniform(0.4, 2), rng.uniform(0.4, 1.5), sizes[:3], sizes[3:])
        add(f"{prompts} prompts, {number}", case, rng.choice([0.5, 1.0, 1.0, 1.75]))
    # Whole differences: equal lengths, or occurrences on one side alone.
    case = counts(rng, 80, 0.9, 0.5, [300], [300])
    add("80 prompts of equal length", case, by=by_distribution)
    case = counts(rng, 60, 0.9, 0.4, [300, 420, 510], [100, 310])
    case["b"] = [0 if a else b for a, b in zip(case["a"], case["b"])]
    add("60 prompts, one side each", case, by=by_distribution)
    add("60 prompts, one side each, ratio 2", case, 2.0, by_distribution)
    # One prompt repeats the term.
    case = counts(rng, 30, 0.8, 0.4, [300, 420], [310])
    case["b"] = [0 if a else b for a, b in zip(case["a"], case["b"])]
    case["a"][0], case["b"][0] = 90, 0
    add("a term that one prompt repeats", case, by=by_distribution)
    # Up to 12 fractional differences among others that are whole.
    case = counts(rng, 50, 0.9, 0.4, [96, 128, 32], [64, 48])
    both = [at for at in range(50) if case["a"][at] and case["b"][at]]
    for at in both[9:]:
        case["b"][at] = 0
    add("50 prompts, a few on both sides", case, by=by_distribution)
    # More than 12: the approximation.
    for number, (mean_a, mean_b) in enumerate([(1.4, 1.4), (1.6, 1.3), (1.9, 1.5), (1.1, 1.6), (2.2, 1.5), (2.4, 1.0)]):
        case = counts(rng, 60 + 10 * number, mean_a, mean_b, [32, 48, 64, 128], [64, 96])
        add(f"{60 + 10 * number} prompts on both sides", case, by=by_distribution)
    return cases


def p_values(case, ratio):
    """As `by_enumeration`, in floats: the interval needs many of them."""
    points = []
    for a, b, n_a, n_b in zip(case["a"], case["b"], case["n_a"], case["n_b"]):
        w = ratio * n_a / (ratio * n_a + n_b)
        v = n_b / (ratio * n_a + n_b)
        d = a * v - b * w
        if d:
            points.append((d, d if d > 0 else -d * v / w, -d * w / v if d > 0 else d, w, v))
    sums = [(0.0, 1.0)]
    for _, for_a, for_b, w, v in points:
        sums = [(s + for_a, p * w) for s, p in sums] + [(s + for_b, p * v) for s, p in sums]
    observed = sum(d for d, *_ in points)
    greater = math.fsum(p for s, p in sums if s >= observed - 1e-9)
    less = math.fsum(p for s, p in sums if s <= observed + 1e-9)
    return greater, less


def bisect(is_above, low, high):
    """The logarithm from which on `is_above` holds."""
    for _ in range(80):
        middle = (low + high) / 2
        if is_above(middle):
            high = middle
        else:
            low = middle
    return (low + high) / 2


def interval_cases(rng):
    cases = []
    for number in range(8):
        prompts = 9 + number % 3
        case = counts(rng, prompts, 1.6, 0.9, [200, 330, 470], [150, 290])
        if number in (1, 2):
            # No occurrence by people; none by the model.
            case["a" if number == 2 else "b"] = [0] * prompts
        if number > 4:
            # One side each: p is monotone and has no jumps.
            case["b"] = [0 if a else b for a, b in zip(case["a"], case["b"])]
        a, b = sum(case["a"]), sum(case["b"])

        def excess(log):
            ratio = math.exp(log)
            rows = zip(case["a"], case["b"], case["n_a"], case["n_b"])
            return sum((a + b) * ratio * n_a / (ratio * n_a + n_b) for a, b, n_a, n_b in rows) - sum(case["a"])

        estimate = None if not b else 0.0 if not a else math.exp(bisect(lambda x: excess(x) > 0, -20, 20))
        middle = 20 if estimate is None else -20 if not estimate else math.log(estimate)
        low = math.exp(bisect(lambda x: p_values(case, math.exp(x))[0] > 0.025, -20, middle)) if a else 0.0
        high = math.exp(bisect(lambda x: p_values(case, math.exp(x))[1] <= 0.025, middle, 20)) if b else None
        cases.append({"name": f"interval {number}", **case, "rate_ratio": estimate, "ci_low": low, "ci_high": high})
    return cases


# ---- The log-odds ratio (Monroe, Colaresi and Quinn 2008) ----

def log_odds(a, b, n_a, n_b, words_of_prior=1000):
    """Equations 16, 20 and 22, with the shares of both sides together as the prior."""
    alpha = words_of_prior * (a + b) / (n_a + n_b)
    omega = [(y + alpha) / (n + words_of_prior - y - alpha) for y, n in ((a, n_a), (b, n_b))]
    delta = math.log(omega[0]) - math.log(omega[1])
    return delta, delta / math.sqrt(1 / (a + alpha) + 1 / (b + alpha))


def log_odds_cases():
    cases = []
    for a, b, n_a, n_b in [(10, 0, 2000, 1000), (0, 7, 500, 900), (120, 80, 40000, 41000), (3, 3, 100, 100), (900, 10, 90000, 1000)]:
        delta, z = log_odds(a, b, n_a, n_b)
        cases.append({"a": a, "b": b, "n_a": n_a, "n_b": n_b, "log_odds": delta, "z": z})
    return cases


# ---- The terms of two groups of texts ----

# Thai, Lao, Burmese, Khmer, bopomofo, kana and Han.
BLOCKS = [
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x312F), (0x31F0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x30000),
]


def has_no_spaces(letter):
    return any(low <= ord(letter) <= high for low, high in BLOCKS)


def sentences(text):
    """Lists of lower-case words: letters and digits with apostrophes between them. A comma, a hyphen, an asterisk,
    an underscore and white space part words, and everything else, or an empty line, ends the sentence."""
    lists, word = [[]], ""
    letters = list(text.replace("’", "'")) + ["\n", "\n"]

    def is_letter(at):
        return 0 <= at < len(letters) and unicodedata.category(letters[at])[0] in "LN"

    def finish():
        nonlocal word
        for alone, run in itertools.groupby(word, has_no_spaces):
            lists[-1] += list(run) if alone else ["".join(run)]
        word = ""

    for at, letter in enumerate(letters):
        if is_letter(at) or (word and unicodedata.category(letter)[0] == "M"):
            word += letter.lower()
        elif letter == "'" and word and is_letter(at + 1):
            word += letter
        else:
            finish()
            rest = "".join(letters[at + 1:])
            is_empty_line = letter == "\n" and "\n" in rest[: len(rest) - len(rest.lstrip())]
            if is_empty_line or not (letter.isspace() or letter in ",*_'-" or unicodedata.category(letter)[0] == "M"):
                lists.append([])
    return [words for words in lists if words]


def ngrams(text, n):
    return [" ".join(words[at:at + n]) for words in sentences(text) for at in range(len(words) - n + 1)]


def terms_of(groups, min_prompts, p_greater):
    """`groups` are (model's texts, people's texts) by prompt."""
    rows = []
    for n in (1, 2, 3):
        by_prompt = [[collections.Counter(g for text in side for g in ngrams(text, n)) for side in group] for group in groups]
        sizes = [[sum(counter.values()) for counter in sides] for sides in by_prompt]
        names = sorted(set().union(*(counter for sides in by_prompt for counter in sides)))
        for name in names:
            there = [at for at, sides in enumerate(by_prompt) if any(counter[name] for counter in sides)]
            if len(there) < min_prompts:
                continue
            case = {
                "ratio": 1.0,
                "a": [by_prompt[at][0][name] for at in there],
                "b": [by_prompt[at][1][name] for at in there],
                "n_a": [sizes[at][0] for at in there],
                "n_b": [sizes[at][1] for at in there],
            }
            totals = [sum(size[side] for size in sizes) for side in (0, 1)]
            a, b = sum(case["a"]), sum(case["b"])
            delta, z = log_odds(a, b, *totals)
            rows.append({
                "term": name, "n": n, "model_count": a, "people_count": b,
                "model_prompts": sum(x > 0 for x in case["a"]), "people_prompts": sum(x > 0 for x in case["b"]),
                "model_rate": a / totals[0], "people_rate": b / totals[1], "log_odds": delta, "z": z,
                "p": p_greater(case),
            })
    # Benjamini and Hochberg 1995.
    order = sorted(range(len(rows)), key=lambda at: rows[at]["p"])
    smallest = 1.0
    for rank in range(len(order), 0, -1):
        row = rows[order[rank - 1]]
        smallest = min(smallest, row["p"] * len(rows) / rank)
        row["p_bh"] = smallest
    return rows


def term_cases(rng):
    words = ["moon", "it's", "night", "the", "the", "ran", "o’clock", "Don't", "sea", "雪の", "café", "well-worn"]
    ends = [".", "!", "…", "?", ",", ":", "\n\n", "\n", " — ", "\" ", "*", ";"]

    def text(phrase):
        parts = []
        for _ in range(rng.randint(8, 16)):
            parts.append(rng.choice(words) + rng.choice(["", "", "", rng.choice(ends)]))
        if phrase:
            parts.insert(rng.randint(0, len(parts)), "a quiet TESTAMENT")
        return " ".join(parts)

    groups = [[[text(True), text(at % 3 == 0)], [text(at == 4)] * (1 + at % 2)] for at in range(11)]
    return {"groups": groups, "min_prompts": 6, "terms": terms_of(groups, 6, lambda case: by_enumeration(two_points(case))[0])}


def check(folder):
    """Every number of the listed terms of a report, from its texts."""
    import pyarrow.parquet as pq

    report = json.loads((folder / "report.json").read_text())
    texts = collections.defaultdict(list)
    for row in pq.read_table(folder / "outputs.parquet").to_pylist():
        texts[row["model"], row["prompt_id"]].append(row["response"])
    prompts = sorted({prompt for _, prompt in texts})
    worst = count = 0
    for entry in report["overused_terms"]:
        sides = [[texts.get((model, prompt), []) for model in (entry["model"], "gold")] for prompt in prompts]
        groups = [pair for pair in sides if all(pair)]
        assert len(groups) == entry["prompts"] <= 16, "the script tries all exchanges"
        terms = {term["term"]: term for term in terms_of(groups, 10, lambda case: p_values(case, 1.0)[0])}
        assert (len(terms), sum(t["p_bh"] <= 0.05 for t in terms.values())) == (entry["tested"], entry["overused"]), entry
        for listed in entry["terms"]:
            for name, value in terms[listed["term"]].items():
                if isinstance(value, float):
                    worst, count = max(worst, abs(listed[name] - value) / max(abs(value), 1e-300)), count + 1
                else:
                    assert listed[name] == value, (name, listed)
            for example in listed["examples"]:
                there = " ".join(sum(sentences(example["text"]), []))
                assert there == listed["term"], (there, listed["term"])
    print(f"{count} numbers of overused terms, largest relative difference {worst:.1e}")
    assert worst < 1e-9


def main():
    if len(sys.argv) > 1:
        return check(pathlib.Path(sys.argv[1]))
    rng = random.Random(12)
    golden = {
        "tests": test_cases(rng),
        "intervals": interval_cases(rng),
        "log_odds": log_odds_cases(),
        "sentences": [
            {"text": text, "sentences": sentences(text)}
            for text in [
                "She couldn’t stop. 'Wait,' he said, *softly*; the well-known o'clock…",
                "One\ntwo\n \nthree, four \"five\" six (seven) 3.5 eight — nine",
                "Rock 'n' roll's __end__'' ÉTÉ Straße 雪の王 cafe\u0301 \U0001F600 ok\ufe0f ok",
                # Marks without a letter are no words.
                "a\u0652b \u0652pl \u0655 \u0301, x",
                "", "...", "'", "don''t",
            ]
        ],
        "terms": term_cases(rng),
    }
    json.dump(golden, sys.stdout, ensure_ascii=False)
    print()


main()
