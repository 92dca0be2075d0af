"""Expected candidates of `--select dpp`, as SQL logic tests: tests/sqllogictest/dpp.slt.

    python tests/peers/dpp.py

numpy, from the definition: greedy MAP of a determinantal point process. Every step tries every remaining
response and takes the one with the largest log-determinant of the kernel of all selected ones (no Cholesky
updates). The kernel is the elementwise product of the spaces' cosine matrices, plus 1e-6 on its diagonal.
"""
import hashlib
import pathlib
import random

import numpy as np

SEED = 42
EPSILON = 1e-6
FILE = pathlib.Path(__file__).parents[1] / "sqllogictest" / "dpp.slt"
# Of each prompt: its number of responses. A zero vector and parallel vectors are among them.
SIZES = {"p1": 1, "p2": 2, "p5": 5, "p9": 9, "p20": 20}


def prompts():
    draw = random.Random(11)
    vector = lambda size: [draw.randrange(-9, 10) for _ in range(size)]
    made = {
        prompt: [
            {"id": f"{prompt}r{number:02}", "score": draw.randrange(1, 6), "semantic": vector(4), "style": vector(3)}
            for number in range(size)
        ]
        for prompt, size in SIZES.items()
    }
    made["p9"][2]["semantic"] = [0, 0, 0, 0]
    # Parallel to the response that is selected first: it must come last.
    first, other = made["p9"][0], made["p9"][5]
    first["score"] = 9
    other["semantic"], other["style"] = first["semantic"], [3 * value for value in first["style"]]
    return made


def kernel(rows, spaces):
    product = np.ones((len(rows), len(rows)))
    for space in spaces:
        vectors = np.array([row[space] for row in rows], dtype=float)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.where(length > 0, length, 1)
        product *= unit @ unit.T
    np.fill_diagonal(product, 1.0)
    return product + EPSILON * np.eye(len(rows))


def select(rows, spaces, limit):
    """The ids in the order of selection."""
    rows = sorted(rows, key=lambda row: (-row["score"], hashlib.md5(f"{SEED} {row['id']}".encode()).hexdigest()))
    matrix = kernel(rows, spaces)
    chosen = []
    while len(chosen) < min(limit, len(rows)):
        values = {}
        for row in set(range(len(rows))) - set(chosen):
            with_row = [*chosen, row]
            values[row] = np.linalg.slogdet(matrix[np.ix_(with_row, with_row)])[1]
        # Of equal values the first in order is taken: all at the start, none later, or rounding would decide.
        best = max(values, key=lambda row: (round(values[row], 9), -row))
        near = [row for row in values if abs(values[row] - values[best]) < 1e-6]
        assert not chosen or near == [best], (chosen, near)
        chosen.append(best)
    return [rows[row]["id"] for row in chosen]


def table(name, columns, rows):
    aliases = ", ".join(f"column{number} AS {column}" for number, column in enumerate(columns, 1))
    values = ",\n    ".join("(" + ", ".join(row) + ")" for row in rows)
    return f"statement ok\nCREATE TABLE {name} AS SELECT {aliases}\nFROM (VALUES\n    {values});\n"


def quoted(text):
    return f"'{text}'"


def main():
    everyone = prompts()
    rows = [(prompt, row) for prompt, responses in everyone.items() for row in responses]
    text = ["# sql/15_candidates_dpp.sql, dpp_rank: written by tests/peers/dpp.py.\n"]
    text.append(table("candidates", ["prompt_id", "response_id", "score"],
                      [(quoted(prompt), quoted(row["id"]), str(row["score"])) for prompt, row in rows]))
    text.append(
        "statement ok\nCREATE TABLE eligible AS\n"
        "SELECT prompt_id, response_id, score, 0 AS created_at, 9 AS words, 'train' AS split,\n"
        "    response_id AS text_hash, CAST(NULL AS VARCHAR) AS excluded FROM candidates\n"
        "UNION ALL SELECT 'p5', 'short', 99, 0, 1, 'train', 'short', 'too_short';\n")
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
        for limit in (1, 4):
            kept = {prompt: select(responses, spaces, limit) for prompt, responses in everyone.items()}
            expected = sorted([prompt, row["id"], "NULL" if row["id"] in kept[prompt] else "beyond_max_responses"]
                              for prompt, row in rows)
            expected = sorted([*expected, ["p5", "short", "too_short"]])
            text.append(f"# {' and '.join(spaces)}, {limit} a prompt\nstatement ok\n"
                        f"RUN 15_candidates_dpp.sql WITH max_responses = {limit}, seed = {SEED} INTO kept\n")
            text.append("query TTT\nSELECT prompt_id, response_id, excluded FROM kept ORDER BY prompt_id, response_id\n----\n"
                        + "\n".join(" ".join(row) for row in expected) + "\n")
            text.append("statement ok\nDROP VIEW kept;\n")
    # The order of selection, by the function itself.
    order = [[prompt, identity, str(rank)] for prompt, responses in everyone.items()
             for rank, identity in enumerate(select(responses, ["semantic", "style"], 6), 1)]
    text.append("query TTI\nSELECT prompt_id, response_id, rank FROM (\n"
                "    SELECT candidates.prompt_id, response_id, dpp_rank(semantic_values.vector, style_values.vector, 6) OVER (\n"
                f"        PARTITION BY prompt_id ORDER BY score DESC, md5({SEED} || ' ' || response_id)) AS rank\n"
                "    FROM candidates\n"
                "    JOIN semantic_values ON semantic_values.text_hash = response_id\n"
                "    JOIN style_values ON style_values.text_hash = response_id) AS ranked\n"
                "WHERE rank IS NOT NULL ORDER BY prompt_id, rank\n----\n"
                + "\n".join(" ".join(row) for row in sorted(order, key=lambda row: (row[0], int(row[2])))) + "\n")
    text.append("query error Failed to coerce arguments to satisfy a call to 'dpp_rank'\n"
                "SELECT dpp_rank(response_id, response_id, 2) OVER () FROM candidates\n")
    FILE.write_text("\n".join(text))


main()
