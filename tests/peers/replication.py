"""Makes tests/fixtures/replication.json: what the published packages find in each prompt of real outputs.

    pip install diversity==0.3.1 nltk rouge-score spacy openai
    python tests/peers/replication.py FOLDER tests/fixtures/replication.json

FOLDER holds baseline.csv and DORPO_both.csv, 200 prompts of four texts each. Values a prompt, in the order of
their ids: compression ratio and n-gram diversity as the package rounds them (`compression_ratio` packs twice,
which adds 34 bytes), homogenization by rouge-score without rounding, and whether a text has letters beyond a to z, which
rouge-score cuts words at.
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
