"""Benchmark: lexical diversity measures, compared with the Python packages that define them.

    pip install diversity==0.3.1 nltk rouge-score
    python benches/measures.py BINARY [PROMPTS [ROUNDS]]

Both sides measure the same texts, 4 a prompt, 500 words each, sampled with a random seed from 20,000 words by
Zipf's law, with paragraphs and punctuation: compression ratio, homogenization (ROUGE-L), n-gram
diversity, self-repetition, self-BLEU, distinct-1 and -2, EAD. Polyphony runs one SQL query over a
JSON lines file, its start and the reading of the file included, on two threads. Python runs two
processes over the first 24 prompts, without its imports, and its time is scaled to all prompts, which take
equal time each. The values must agree before times are compared. Rounds alternate.
"""
import contextlib
import io
import json
import math
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

BINARY = sys.argv[1]
PROMPTS = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 3
SAMPLE, THREADS = min(24, PROMPTS), 2
QUERY = """SELECT prompt_id, compression_ratio(response ORDER BY sample),
    homogenization(response ORDER BY sample), ngram_diversity(response ORDER BY sample),
    self_repetition(response ORDER BY sample), self_bleu(response ORDER BY sample),
    distinct_n(response, 1 ORDER BY sample), distinct_n(response, 2 ORDER BY sample),
    ead(response ORDER BY sample)
    FROM '{}' GROUP BY prompt_id ORDER BY prompt_id"""


def texts():
    rng = random.Random(42)
    words = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 9))) for _ in range(20_000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    for prompt in range(PROMPTS):
        for sample in range(4):
            story = rng.choices(words, weights, k=500)
            for place in range(11, 500, 12):
                story[place] += ".\n\n" + story[place].capitalize() if place % 5 == 0 else ","
            yield {"prompt_id": prompt, "sample": sample, "response": " ".join(story)}


def measured(group):
    """All measures of one prompt: from the published packages, self-BLEU (with nltk) and EAD by definition."""
    from diversity import compression_ratio, homogenization_score, ngram_diversity_score
    from diversity.self_repetition import self_repetition_score
    from nltk import ngrams
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    with contextlib.redirect_stdout(io.StringIO()):
        values = [
            compression_ratio(group, "gzip", verbose=False),
            homogenization_score(group, "rougel", verbose=False),
            ngram_diversity_score(group, 4),
            self_repetition_score(group, 4, verbose=False),
        ]
    split = [text.split() for text in group]
    smoothing = SmoothingFunction().method1
    bleu = [sentence_bleu(split[:i] + split[i + 1 :], text, smoothing_function=smoothing) for i, text in enumerate(split)]
    values.append(sum(bleu) / len(bleu))
    for n in (1, 2):
        runs = [run for text in split for run in ngrams(text, n)]
        values.append(len(set(runs)) / len(runs))
    runs = [word for text in split for word in text]
    vocabulary = 50_000
    values.append(len(set(runs)) / (vocabulary * (1 - ((vocabulary - 1) / vocabulary) ** len(runs))))
    return values


def main():
    rows = list(texts())
    groups = [[row["response"] for row in rows[at : at + 4]] for at in range(0, len(rows), 4)]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "texts.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        query = f"SET datafusion.execution.target_partitions = {THREADS}; " + QUERY.format(file)
        command = [BINARY, "sql", "--format", "csv", "-c", query]
        environment = {**os.environ, "TOKIO_WORKER_THREADS": str(THREADS)}
        ratios, ours = [], []
        with ProcessPoolExecutor(THREADS) as pool:
            list(pool.map(measured, groups[:THREADS]))
            for _ in range(ROUNDS):
                begin = time.perf_counter()
                said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
                mine = time.perf_counter() - begin
                begin = time.perf_counter()
                theirs = list(pool.map(measured, groups[:SAMPLE]))
                scaled = (time.perf_counter() - begin) * PROMPTS / SAMPLE
                ratios.append(scaled / mine)
                ours.append(mine)
        lines = said.strip().splitlines()[-PROMPTS:]
        for line, expected in zip(lines, theirs):
            for place, (value, peer) in enumerate(zip(map(float, line.split(",")[1:]), expected)):
                # The package rounds to three decimal places; its gzip header takes 34 bytes.
                near = 0.03 if place == 0 else 0.00051 if place in (1, 2) else 1e-9
                assert math.isclose(value, peer, rel_tol=1e-9, abs_tol=near), (place, value, peer)
    print(json.dumps({"prompts": PROMPTS, "responses": 4, "words": 500, "threads": THREADS,
                      "ratio_to_python": round(statistics.median(ratios), 1),
                      "rounds": [round(ratio, 1) for ratio in ratios],
                      "seconds": round(statistics.median(ours), 3)}))


if __name__ == "__main__":
    main()
