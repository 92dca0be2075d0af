"""Benchmark: tokens per second of `polyphony embed` and of sentence-transformers, in one run.

    python3 benches/embed.py BINARY DUMPS MODEL [ROUNDS]

DUMPS is a folder of Reddit dumps, MODEL a folder of a sentence-transformers model. Each round runs both, one
after the other, on the same stories. Only the embedding is timed (tokenization, sorting, model), with the model
loaded and warm, as each of the two reports it. The ratio comes first in the output.
"""
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time


def stories(binary, dumps, folder):
    run = lambda *command: subprocess.run([binary, *command], check=True, capture_output=True, text=True)
    run("ingest", *map(str, sorted(pathlib.Path(dumps).glob("*.zst"))), "--store", str(folder / "store"))
    file = folder / "stories.parquet"
    query = f"COPY (SELECT text FROM responses ORDER BY response_id) TO '{file}'"
    run("sql", "--store", str(folder / "store"), "-c", query)
    listed = run("sql", "--store", str(folder / "store"), "--format", "json", "-c",
                 "SELECT text FROM responses ORDER BY response_id")
    return file, [row["text"] for row in json.loads(listed.stdout)]


def ours(binary, file, model, folder):
    out = folder / "out.parquet"
    said = subprocess.run(
        [binary, "embed", str(file), "--column", "text", "--model", str(model), "--out", str(out)],
        check=True, capture_output=True, text=True).stderr
    texts, tokens, rate = re.search(r"embedded (\d+) texts with .*: (\d+) tokens, (\d+) a second", said).groups()
    return int(tokens), int(rate)


def main():
    import torch
    from sentence_transformers import SentenceTransformer

    binary, dumps, model = sys.argv[1], sys.argv[2], sys.argv[3]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        file, texts = stories(binary, dumps, folder)
        peer = SentenceTransformer(model, device="cpu")
        tokenizer, most = peer.tokenizer, peer.max_seq_length
        tokens = sum(len(ids) for ids in tokenizer(texts, truncation=True, max_length=most)["input_ids"])
        peer.encode(texts[:64], batch_size=32)
        ratios, rates = [], []
        for _ in range(rounds):
            ours_tokens, ours_rate = ours(binary, file, model, folder)
            start = time.perf_counter()
            peer.encode(texts, batch_size=32)
            peer_rate = tokens / (time.perf_counter() - start)
            ratios.append(ours_rate / peer_rate)
            rates.append((ours_rate, peer_rate))
        print(f"ratio (polyphony / sentence-transformers): median {statistics.median(ratios):.2f},"
              f" all {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
        print(f"{len(texts)} texts; tokens: {ours_tokens} ours, {tokens} theirs;"
              f" torch {torch.__version__} on {torch.get_num_threads()} threads")
        print("tokens a second: " + ", ".join(f"{a} / {b:.0f}" for a, b in rates))


main()
