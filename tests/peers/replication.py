"""Writes tests/fixtures/replication.json: measures of each prompt of real outputs, by the published packages.

    pip install diversity==0.3.1 nltk rouge-score spacy openai
    python tests/peers/replication.py FOLDER tests/fixtures/replication.json

FOLDER has baseline.csv and DORPO_both.csv, 200 prompts with four texts each. Values of each prompt, by id:
compression ratio, rounded by the package (which compresses twice: 34 more bytes); homogenization by rouge-score,
not rounded; n-gram diversity, rounded by the package; whether a text has letters outside a to z, at which
rouge-score splits words.
"""

import csv
import itertools
import json
import pathlib
import sys
from concurrent.futures import ProcessPoolExecutor

csv.field_size_limit(1 << 30)


def measured(texts):
    from diversity import compression_ratio, ngram_diversity_score
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    scores = [scorer.score(a, b)["rougeL"].fmeasure for a, b in itertools.permutations(texts, 2)]
    return [
        compression_ratio(texts, "gzip", verbose=False),
        sum(scores) / len(scores),
        ngram_diversity_score(texts, 4),
        any(letter.isalnum() and not letter.isascii() for text in texts for letter in text),
    ]


def main():
    folder, out = map(pathlib.Path, sys.argv[1:])
    found = {}
    for name in ("baseline", "DORPO_both"):
        groups = {}
        for row in csv.DictReader((folder / f"{name}.csv").open(newline="")):
            groups.setdefault(int(row["prompt_id"]), []).append(row["response"])
        with ProcessPoolExecutor(2) as pool:
            values = pool.map(measured, [groups[key] for key in sorted(groups)], chunksize=10)
            found[name] = dict(zip(map(str, sorted(groups)), values))
    out.write_text(json.dumps(found).replace('], "', '],\n"') + "\n")


if __name__ == "__main__":
    main()
