"""Expected diversities and pairs of `--strategy marginal`, as SQL logic tests: tests/sqllogictest/marginal.slt.

    python tests/peers/marginal.py

Plain Python, from the definition of ReDiPO (Samuel et al. 2026): of each response the cosine distance to the
most similar other one; over two spaces min-max scaling and the geometric mean; all pairs of votes within
epsilon by descending difference of diversity; a cap on the pairs of a response; the top quantile, rounded up.
"""
import itertools
import math
import pathlib
import random

FILE = pathlib.Path(__file__).parents[1] / "sqllogictest" / "marginal.slt"
SIZES = {"p1": 1, "p2": 2, "p3": 3, "p6": 6, "p10": 10, "p16": 16}


def prompts():
    draw = random.Random(5)
    vector = lambda size: [draw.randrange(-9, 10) or 1 for _ in range(size)]
    return {
        prompt: [
            {"id": f"{prompt}r{number:02}", "score": draw.randrange(0, 12), "semantic": vector(4), "style": vector(3)}
            for number in range(size)
        ]
        for prompt, size in SIZES.items()
    }


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def nearest(rows, space):
    return [min((1 - cosine(row[space], other[space]) for other in rows if other is not row), default=None)
            for row in rows]


def scaled(values):
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]


def diversities(rows, spaces):
    """Of each response: its distances by space, and the geometric mean of the scaled ones."""
    distances = {space: nearest(rows, space) for space in spaces}
    if len(rows) == 1:
        return distances, [None]
    by_space = [scaled(distances[space]) for space in spaces]
    return distances, [math.prod(values) ** (1 / len(spaces)) for values in zip(*by_space)]


def pairs(rows, diversity, epsilon, n_cap, top_quantile):
    candidates = []
    for (i, a), (j, b) in itertools.combinations(enumerate(rows), 2):
        difference = abs(diversity[i] - diversity[j])
        tie = difference < 1e-9
        if abs(a["score"] - b["score"]) <= epsilon and not (tie and a["score"] == b["score"]):
            candidates.append((0.0 if tie else difference, i, j))
    gaps = sorted({c[0] for c in candidates})
    assert all(b - a > 1e-6 for a, b in zip(gaps, gaps[1:])), "differences too close for a golden value"
    candidates.sort(key=lambda candidate: -candidate[0])
    uses = [0] * len(rows)
    kept = []
    for difference, i, j in candidates:
        if uses[i] < n_cap and uses[j] < n_cap:
            uses[i] += 1
            uses[j] += 1
            kept.append((difference, i, j))
    made = []
    for difference, i, j in kept[:math.ceil(top_quantile * len(kept))]:
        wins = diversity[i] > diversity[j] if difference else rows[i]["score"] > rows[j]["score"]
        made.append((rows[i], rows[j]) if wins else (rows[j], rows[i]))
    return made


def table(name, columns, rows):
    aliases = ", ".join(f"column{number} AS {column}" for number, column in enumerate(columns, 1))
    values = ",\n    ".join("(" + ", ".join(row) + ")" for row in rows)
    return f"statement ok\nCREATE TABLE {name} AS SELECT {aliases}\nFROM (VALUES\n    {values});\n"


def quoted(text):
    return f"'{text}'"


def number(value):
    return "NULL" if value is None else repr(value)


def main():
    everyone = prompts()
    rows = [(prompt, row) for prompt, responses in everyone.items() for row in responses]
    text = ["# sql/20_marginal_diversities.sql, 20_pairs_marginal.sql, 71_card_marginal.sql, nearest_distance:\n"
            "# written by tests/peers/marginal.py.\n"]
    text.append(table("candidates", ["prompt_id", "response_id", "score", "text_hash", "excluded"],
                      [(quoted(prompt), quoted(row["id"]), str(row["score"]), quoted(row["id"]), "CAST(NULL AS VARCHAR)")
                       for prompt, row in rows]))
    text.append("statement ok\nCREATE TABLE scored_responses AS SELECT prompt_id, response_id, text_hash FROM candidates;\n")
    for space in ("semantic", "style"):
        dimension = len(rows[0][1][space])
        text.append(table(f"{space}_values", ["text_hash", "vector"],
                          [(quoted(row["id"]), str(row[space])) for _, row in rows]))
        text.append(f"statement ok\nCREATE TABLE vectors_{space} AS SELECT text_hash,\n"
                    f"    arrow_cast(vector, 'FixedSizeList({dimension}, Float32)') AS vector FROM {space}_values;\n")
    for spaces in (["semantic", "style"], ["semantic"]):
        if len(spaces) == 1:
            text.append("statement ok\nDROP TABLE vectors_style;\n")
            text.append("statement ok\nCREATE TABLE vectors_style AS SELECT text_hash,\n"
                        "    arrow_cast(NULL, 'FixedSizeList(1, Float32)') AS vector FROM style_values;\n")
        text.append("statement ok\nRUN 20_marginal_diversities.sql INTO marginal_diversities\n")
        expected, by_prompt = [], {}
        for prompt, responses in everyone.items():
            distances, values = diversities(responses, spaces)
            # In one space the distance itself ranks the pairs as the scaled one does: the authors' definition.
            by_prompt[prompt] = values if len(spaces) == 2 else distances["semantic"]
            for index, row in enumerate(responses):
                style = distances["style"][index] if "style" in distances else None
                expected.append((quoted(row["id"]), number(distances["semantic"][index]), number(style), number(values[index])))
        values = ",\n    ".join("(" + ", ".join(row) + ")" for row in expected)
        text.append("# Rows that differ from the expected values by more than 1e-6, and the number of rows.\n"
                    "query II\nSELECT count(*) FILTER (WHERE\n"
                    "    coalesce(abs(semantic - column2), CASE WHEN semantic IS NULL AND column2 IS NULL THEN 0 ELSE 1 END) > 1e-6\n"
                    "    OR coalesce(abs(style - column3), CASE WHEN style IS NULL AND column3 IS NULL THEN 0 ELSE 1 END) > 1e-6\n"
                    "    OR coalesce(abs(diversity - column4), CASE WHEN diversity IS NULL AND column4 IS NULL THEN 0 ELSE 1 END) > 1e-6\n"
                    f"), count(*)\nFROM marginal_diversities FULL JOIN (VALUES\n    {values}\n) AS expected ON response_id = column1\n----\n"
                    f"0 {len(expected)}\n")
        for epsilon, n_cap, top_quantile in ((5, 4, 0.25), (2, 1, 1.0), (0, 2, 1.0)):
            made = {prompt: pairs(responses, by_prompt[prompt], epsilon, n_cap, top_quantile)
                    for prompt, responses in everyone.items()}
            run = (f"RUN 20_pairs_marginal.sql WITH epsilon = {float(epsilon)}, n_cap = {n_cap}, "
                   f"top_quantile = {top_quantile}, max_pairs = 0")
            lines = sorted((prompt, a["id"], b["id"]) for prompt, entries in made.items() for a, b in entries)
            text.append(f"query TTT\n{run}\n----\n" + "\n".join(" ".join(line) for line in lines) + "\n")
            text.append(f"statement ok\n{run} INTO selected\n\nstatement ok\nCREATE TABLE pair_ids AS SELECT * FROM selected;\n")
            both = [entry for entries in made.values() for entry in entries]
            fewer = sum(a["score"] < b["score"] for a, b in both)
            equal = sum(a["score"] == b["score"] for a, b in both)
            without = sum(not entries for entries in made.values())
            text.append("query TTTR\nRUN 71_card_marginal.sql\n----\n"
                        f"marginal_fewer_votes marginal diversity pairs whose chosen response has fewer votes {fewer}\n"
                        f"marginal_equal_votes marginal diversity pairs of equal votes {equal}\n"
                        f"marginal_prompts_without marginal diversity prompts without pairs {without}\n")
            text.append("statement ok\nDROP VIEW selected;\n\nstatement ok\nDROP TABLE pair_ids;\n")
        # --max-pairs keeps the pairs that come first.
        first = sorted((prompt, *(row["id"] for row in entries[0])) for prompt, responses in everyone.items()
                       if (entries := pairs(responses, by_prompt[prompt], 5, 4, 1.0)))
        text.append("query TTT\nRUN 20_pairs_marginal.sql WITH epsilon = 5.0, n_cap = 4, top_quantile = 1.0, max_pairs = 1\n----\n"
                    + "\n".join(" ".join(line) for line in first) + "\n")
        text.append("statement ok\nDROP VIEW marginal_diversities;\n")
    FILE.write_text("\n".join(text))


main()
