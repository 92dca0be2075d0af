"""Peer test: what `polyphony weigh` writes of a data set of `datasets` loads with the same features and rows,
and its weights are those that numpy computes from the same embeddings.

usage: weigh_loads.py POLYPHONY PAIRS.parquet
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from datasets import ClassLabel, Dataset, Value, load_dataset


def minmax(values):
    low, high = values.min(), values.max()
    return np.full(len(values), 0.5) if high == low else (values - low) / (high - low)


def deviations(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = 1.0 - unit @ unit.T
    np.fill_diagonal(distances, 0.0)
    return distances.sum(axis=1) / (len(vectors) - 1)


def embeddings(polyphony, folder, texts, model):
    source, target = folder / "texts.jsonl", folder / "texts.parquet"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    subprocess.run([polyphony, "embed", source, "--column", "text", "--model", model, "--out", target],
                   check=True, capture_output=True)
    rows = load_dataset("parquet", data_files=str(target), split="train", cache_dir=folder / model)
    return {row["text"]: np.array(row["embedding"], dtype=np.float64) for row in rows}


def main():
    polyphony, pairs = sys.argv[1:]
    rows = load_dataset("parquet", data_files=pairs, split="train")
    rows = rows.select_columns(["prompt", "chosen", "rejected", "split"])
    rows = rows.cast_column("split", ClassLabel(names=sorted(set(rows["split"]))))
    # TRL's implicit prompt: both conversations begin with it.
    rows = rows.map(lambda row: {"chosen": row["prompt"] + row["chosen"], "rejected": row["prompt"] + row["rejected"],
                                 "id": row["chosen"][0]["content"][:9]}, remove_columns=["prompt"])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        rows.to_parquet(folder / "in.parquet")
        rows.remove_columns("split").to_json(folder / "in.jsonl")
        loaded = {}
        for end, loader in (("parquet", "parquet"), ("jsonl", "json")):
            out = folder / f"out.{end}"
            subprocess.run([polyphony, "weigh", folder / f"in.{end}", "--out", out], check=True, capture_output=True)
            loaded[end] = load_dataset(loader, data_files=str(out), split="train", cache_dir=folder / end)
        weighed = loaded["parquet"]
        for column, feature in rows.features.items():
            assert weighed.features[column] == feature, (column, weighed.features[column], feature)
            assert weighed[column] == rows[column], column
        for column in ("weight", "deviation_semantic", "deviation_style"):
            assert weighed.features[column] == Value("float64"), weighed.features
            assert np.abs(np.array(weighed[column]) - np.array(loaded["jsonl"][column])).max() < 1e-15
        texts_of = {}
        for row in rows:
            texts = texts_of.setdefault(row["chosen"][0]["content"], [])
            for side in ("chosen", "rejected"):
                if row[side][-1]["content"] not in texts:
                    texts.append(row[side][-1]["content"])
        every = [text for texts in texts_of.values() for text in texts]
        words = embeddings(polyphony, folder, every, "builtin:words")
        style = embeddings(polyphony, folder, every, "builtin:style")
        expected = {}
        for prompt, texts in texts_of.items():
            if len(texts) == 2:
                expected.update({(prompt, text): 1.0 for text in texts})
                continue
            spaces = [minmax(deviations(np.array([space[text] for text in texts]))) for space in (words, style)]
            g = np.sqrt(spaces[0] * spaces[1])
            weights = np.ones(len(g)) if g.max() == g.min() else g / g.mean()
            expected.update({(prompt, text): weight for text, weight in zip(texts, weights)})
        worst = max(abs(row["weight"] - expected[row["chosen"][0]["content"], row["chosen"][-1]["content"]])
                    for row in weighed)
        assert worst < 1e-5, worst
    print(f"datasets reads {len(weighed)} weighed rows as they were; the weights are numpy's to {worst:.1e}")


main()
