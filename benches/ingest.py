#!/usr/bin/env python3
"""Benchmark: ingest compared with DuckDB, on the same uncompressed lines and the same cores, in one run.

    cargo bench --bench corpus -- /tmp/corpus
    cargo build --release
    pip install duckdb
    python3 benches/ingest.py target/release/polyphony /tmp/corpus [ROUNDS]

Polyphony reads both files, separates stories from noise, resolves duplicates and writes its store. DuckDB reads
both files with `read_json` and writes them with `COPY ... TO parquet`: with all columns, compressed by default
(snappy) and as Polyphony compresses (zstd, level 1), and with only the columns that Polyphony reads. The rounds
alternate; medians of wall time and peak resident memory are printed as JSON, ratios first.
"""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

COLUMNS = {
    "RS_corpus.jsonl": "{id: 'VARCHAR', title: 'VARCHAR', selftext: 'VARCHAR', subreddit: 'VARCHAR', "
    "link_flair_text: 'VARCHAR', removed_by_category: 'VARCHAR', score: 'BIGINT', "
    "created_utc: 'BIGINT', retrieved_on: 'BIGINT'}",
    "RC_corpus.jsonl": "{id: 'VARCHAR', link_id: 'VARCHAR', parent_id: 'VARCHAR', body: 'VARCHAR', "
    "author: 'VARCHAR', subreddit: 'VARCHAR', distinguished: 'VARCHAR', score: 'BIGINT', "
    "created_utc: 'BIGINT', retrieved_on: 'BIGINT'}",
}
CORES = len(os.sched_getaffinity(0))


def measure(command):
    """Runs a command; returns its wall time in seconds and its peak resident memory in MiB."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def duckdb(corpus, out, all_columns, packing):
    copies = []
    for name, columns in COLUMNS.items():
        known = "" if all_columns else f", columns = {columns}"
        copies.append(
            f"COPY (SELECT * FROM read_json('{corpus / name}', format = 'newline_delimited'{known})) "
            f"TO '{out / name}.parquet' (FORMAT parquet{packing})"
        )
    program = f"import duckdb; c = duckdb.connect(); c.execute('SET threads = {CORES}')\n"
    program += "".join(f"c.execute({copy!r})\n" for copy in copies)
    return [sys.executable, "-c", program]


def main():
    binary, corpus = sys.argv[1], pathlib.Path(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    size = sum((corpus / name).stat().st_size for name in COLUMNS)
    found = {"polyphony": [], "duckdb, all columns": [], "duckdb, all columns, zstd": [], "duckdb, same columns": []}
    for _ in range(rounds):
        for who, runs in found.items():
            out = pathlib.Path(tempfile.mkdtemp(dir=corpus))
            files = [str(corpus / name) for name in COLUMNS]
            if who == "polyphony":
                command = [binary, "ingest", *files, "--store", str(out / "store")]
            else:
                packing = ", COMPRESSION zstd, COMPRESSION_LEVEL 1" if "zstd" in who else ""
                command = duckdb(corpus, out, "all" in who, packing)
            seconds, memory = measure(command)
            written = sum(path.stat().st_size for path in out.rglob("*.parquet"))
            runs.append((seconds, memory, written))
            shutil.rmtree(out)
    wall = {who: statistics.median(run[0] for run in runs) for who, runs in found.items()}
    report = {
        "speed over": {
            who: round(seconds / wall["polyphony"], 2) for who, seconds in wall.items() if who != "polyphony"
        },
        "input MiB": size >> 20,
        "cores": CORES,
        "rounds": rounds,
        "median seconds": {who: round(seconds, 2) for who, seconds in wall.items()},
        "peak resident MiB": {who: round(max(run[1] for run in runs)) for who, runs in found.items()},
        "written MiB": {who: runs[0][2] >> 20 for who, runs in found.items()},
    }
    print(json.dumps(report, indent=2))


main()
