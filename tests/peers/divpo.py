"""Expected pools, deviations and pairs of DivPO, as SQL logic tests: tests/sqllogictest/divpo.slt.

    python tests/peers/divpo.py

Plain Python, from the definitions: pools of max(max_pairs, floor(rho n)) responses, at most half of them;
cosine distances within a pool; min-max scaling, geometric mean; the most deviant of the best and the least
deviant of the worst; a shuffle by MD5; pairs that the votes do not order are dropped.
"""
import hashlib
import math
import pathlib
import random

SEED = 42
FOLDER = pathlib.Path(__file__).parents[1] / "sqllogictest"


def md5(*words):
    return hashlib.md5(" ".join(map(str, words)).encode()).hexdigest()


def prompts():
    """Prompts of 2 to 16 responses: id, votes (with ties), a semantic and a style vector."""
    draw = random.Random(7)
    sizes = {"p02": 2, "p04": 4, "p05": 5, "p08": 8, "p12": 12, "p16": 16}
    return {
        prompt: [
            {
                "id": f"{prompt}r{number:02}",
                "score": draw.randrange(1, 12),
                "semantic": [round(draw.uniform(-1, 1), 3) for _ in range(3)],
                "style": [round(draw.uniform(-1, 1), 3) for _ in range(3)],
            }
            for number in range(size)
        ]
        for prompt, size in sizes.items()
    }


def distance(a, b):
    norm = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return 1 - sum(x * y for x, y in zip(a, b)) / norm


def deviations(pool, space):
    if len(pool) == 1:
        return [0.0]
    return [
        sum(distance(mine[space], other[space]) for other in pool if other is not mine) / (len(pool) - 1)
        for mine in pool
    ]


def scaled(values):
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high - low > 1e-6 else 0.5 for value in values]


def by_deviation(pool):
    """The responses of a pool with the geometric mean of their scaled deviations."""
    semantic, style = (scaled(deviations(pool, space)) for space in ("semantic", "style"))
    return [(math.sqrt(a * b), response) for a, b, response in zip(semantic, style, pool)]


def divpo(responses, rho, max_pairs):
    """The pools, the pairs and the number of dropped pairs of one prompt."""
    ranked = sorted(responses, key=lambda response: (-response["score"], md5(SEED, response["id"])))
    size = min(max(max_pairs, math.floor(rho * len(ranked))), len(ranked) // 2)
    best, worst = ranked[:size], ranked[len(ranked) - size:]
    most = sorted(by_deviation(best), key=lambda entry: (-entry[0], entry[1]["id"]))[:max_pairs]
    least = sorted(by_deviation(worst), key=lambda entry: (entry[0], entry[1]["id"]))[:max_pairs]
    chosen = sorted((entry[1] for entry in most), key=lambda response: md5(SEED, "best", response["id"]))
    rejected = sorted((entry[1] for entry in least), key=lambda response: md5(SEED, "worst", response["id"]))
    pairs = list(zip(chosen, rejected))
    ordered = [(a["id"], b["id"]) for a, b in pairs if a["score"] > b["score"]]
    return best, worst, ordered, len(pairs) - len(ordered)


def table(name, columns, rows):
    aliases = ", ".join(f"column{number} AS {column}" for number, column in enumerate(columns, 1))
    values = ",\n    ".join("(" + ", ".join(row) + ")" for row in rows)
    return f"statement ok\nCREATE TABLE {name} AS SELECT {aliases}\nFROM (VALUES\n    {values});\n"


def quoted(text):
    return f"'{text}'"


def divpo_test():
    everyone = prompts()
    rows = [(prompt, response) for prompt, responses in everyone.items() for response in responses]
    text = ["# sql/20_divpo_*.sql, 20_pairs_divpo.sql, 71_card_divpo.sql: written by tests/peers/divpo.py.\n"]
    text.append(table("candidates", ["prompt_id", "response_id", "score"],
                      [(quoted(prompt), quoted(r["id"]), str(r["score"])) for prompt, r in rows]))
    text.append(table("scored_responses", ["prompt_id", "response_id", "text_hash"],
                      [(quoted(prompt), quoted(r["id"]), quoted(r["id"])) for prompt, r in rows]))
    for space in ("semantic", "style"):
        text.append(table(f"{space}_values", ["text_hash", "vector"],
                          [(quoted(r["id"]), str(r[space])) for _, r in rows]))
    for rho, max_pairs in ((0.25, 3), (0.5, 2)):
        made = {prompt: divpo(responses, rho, max_pairs) for prompt, responses in everyone.items()}
        pools = sorted((prompt, name, r["id"], r["score"]) for prompt, (best, worst, _, _) in made.items()
                       for name, pool in (("best", best), ("worst", worst)) for r in pool)
        text.append(f"statement ok\nRUN 20_divpo_pools.sql WITH rho = {rho}, max_pairs = {max_pairs}, seed = {SEED} INTO pools\n")
        text.append("query TTTI\nSELECT prompt_id, pool, response_id, score FROM pools ORDER BY prompt_id, pool, response_id\n----\n"
                    + "\n".join(" ".join(map(str, row)) for row in pools) + "\n")
        for space in ("semantic", "style"):
            text.append("statement ok\nCREATE TABLE vectors AS SELECT text_hash, 'm' AS model, '1' AS revision, "
                        f"arrow_cast(vector, 'FixedSizeList(3, Float32)') AS vector FROM {space}_values;\n")
            text.append(f"statement ok\nRUN 20_divpo_deviations.sql WITH space = '{space}', model = 'm', revision = '1' INTO {space}\n")
            expected = sorted((p, name, r["id"], d) for p, (best, worst, _, _) in made.items()
                              for name, pool in (("best", best), ("worst", worst))
                              for r, d in zip(pool, deviations(pool, space)))
            values = ", ".join(f"('{p}', '{pool}', '{r}', {d!r})" for p, pool, r, d in expected)
            text.append("# Rows that differ from the expected deviations by more than 1e-6, and the number of rows.\n"
                        "query II\nSELECT count(*) FILTER (WHERE coalesce(abs(deviation - column4), 1) > 1e-6), count(*)\n"
                        f"FROM {space} FULL JOIN (VALUES {values}) AS expected\n"
                        "    ON prompt_id = column1 AND pool = column2 AND response_id = column3\n----\n"
                        f"0 {len(expected)}\n")
            text.append("statement ok\nDROP TABLE vectors;\n")
        text.append("statement ok\nCREATE TABLE pool_deviations AS SELECT * FROM semantic UNION ALL SELECT * FROM style;\n")
        pairs = sorted((p, a, b) for p, (_, _, ordered, _) in made.items() for a, b in ordered)
        text.append(f"statement ok\nRUN 20_pairs_divpo.sql WITH max_pairs = {max_pairs}, seed = {SEED} INTO pair_ids\n")
        text.append("query TTT\nSELECT * FROM pair_ids ORDER BY prompt_id, chosen_id, rejected_id\n----\n"
                    + "\n".join(" ".join(pair) for pair in pairs) + "\n")
        dropped = sum(entry[3] for entry in made.values())
        text.append(f"query TTTR\nRUN 71_card_divpo.sql WITH max_pairs = {max_pairs}\n----\n"
                    f"divpo_pooled DivPO responses in pools {len(pools)}\n"
                    f"divpo_paired DivPO responses in pairs {2 * len(pairs)}\n"
                    f"divpo_unordered DivPO pairs dropped: the votes do not order them {dropped}\n")
        text.append("".join(f"statement ok\nDROP VIEW {name};\n\n" for name in ("pools", "semantic", "style", "pair_ids"))
                    + "statement ok\nDROP TABLE pool_deviations;\n")
    (FOLDER / "divpo.slt").write_text("\n".join(text))


divpo_test()
