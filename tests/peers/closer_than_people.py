"""Closer than people: golden values by numpy, and a check of a report's numbers from its embeddings.

    python3 tests/peers/closer_than_people.py > tests/fixtures/closer_than_people.json
    python3 tests/peers/closer_than_people.py REPORT    # needs pyarrow; compares with REPORT/report.json

It shares no code with the program: every pair of pairs is compared one by one.
"""

import itertools
import json
import pathlib
import sys

import numpy as np


def distance(u, v):
    u, v = np.asarray(u, np.float64), np.asarray(v, np.float64)
    lengths = np.linalg.norm(u), np.linalg.norm(v)
    if lengths[0] == 0 and lengths[1] == 0:
        return 0.0
    if 0 in lengths:
        return 1.0
    return 1.0 - float(u @ v) / (lengths[0] * lengths[1])


def pairs(a, b):
    if a is b:
        return [distance(u, v) for u, v in itertools.combinations(a, 2)]
    return [distance(u, v) for u, v in itertools.product(a, b)]


def share(a, b, people):
    """P(d(m, m') < d(h, h')) + P(=) / 2, and the number of ties; None without a pair on a side."""
    total = ties = count = 0
    for d in pairs(a, b):
        for h in pairs(people, people):
            tie = bool(abs(d - h) <= 1e-12)
            total += 0.5 if tie else float(d < h)
            ties += tie
            count += 1
    return (total / count if count else None), ties


def golden():
    random = np.random.default_rng(11)
    prompts = []
    for sizes in [(4, 4, 4), (3, 2, 6), (2, 4, 2), (1, 3, 3), (4, 0, 5), (4, 4, 1), (5, 5, 7)]:
        groups = []
        for size, spread in zip(sizes, (0.4, 0.8, 1.0)):
            # Multiples of 1/64 are exact in f32.
            rows = np.round(64 * (0.8 + spread * random.normal(size=(size, 5)))) / 64
            # Equal stories and empty ones (zero vectors) give ties.
            if size > 3:
                rows[1] = rows[0]
            if size > 4:
                rows[2:4] = 0
            groups.append(rows.tolist())
        people = groups[-1]
        results = [share(a, b, people) for a, b in itertools.combinations_with_replacement(groups[:-1], 2)]
        prompts.append({"groups": groups, "shares": [r[0] for r in results], "ties": sum(r[1] for r in results)})
    print(json.dumps({"prompts": prompts}))


def check(folder):
    import pyarrow.parquet as pq

    report = json.loads((folder / "report.json").read_text())
    worst, count = 0.0, 0
    for space in ("semantic", "style"):
        rows = pq.read_table(folder / f"{space}.parquet").to_pylist()
        groups = {}
        for row in rows:
            groups.setdefault((row["prompt_id"], row["model"]), []).append(row["embedding"])
        for entry in (e for e in report["closer_than_people"] if e["space"] == space):
            values = []
            for prompt in {key[0] for key in groups}:
                of = lambda model: groups.get((prompt, model), [])
                people, a = of("gold"), of(entry["a"])
                b = a if entry["a"] == entry["b"] else of(entry["b"])
                value, _ = share(a, b, people)
                values += [] if value is None else [value]
            assert len(values) == entry["prompts"], entry
            worst, count = max(worst, abs(np.mean(values) - entry["share"])), count + 1
    print(f"{count} shares, largest difference {worst:.1e}")
    assert count and worst < 1e-9


golden() if len(sys.argv) == 1 else check(pathlib.Path(sys.argv[1]))
