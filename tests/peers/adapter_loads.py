"""Peer test: adapters load in PEFT and give the same log-probabilities and rewards as polyphony.

    python tests/peers/adapter_loads.py POLYPHONY DEMO

DEMO is the output of `polyphony demo --out DEMO`: a tiny Llama, its adapters, and a store.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from datasets import load_dataset
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer

LIMIT = 256


def logps(model, tokenizer, prompt, answer):
    """The log-probability of a response, summed over its tokens, truncated and masked as in TRL."""
    start = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
    whole = tokenizer.apply_chat_template(prompt + answer, return_dict=True)["input_ids"][:LIMIT]
    assert whole[: len(start)] == start
    ids = torch.tensor([whole])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1]
    each = torch.log_softmax(logits.double(), -1).gather(1, ids[0, 1:, None])[:, 0]
    return each[len(start) - 1 :].sum().item()


def near(given, known, what):
    assert abs(given - known) <= 1e-4 * max(1.0, abs(known)), f"{what}: {given} for {known}"


def log_probabilities(run, tiny, pairs_file, adapter, scratch, limits):
    """Compares the log-probabilities of both responses of all pairs; returns the number of responses."""
    out = scratch / f"by-{pathlib.Path(adapter).name}"
    run("train", "dpo", "--model", tiny, "--data", pairs_file, "--reference", adapter, "--out", str(out), *limits)
    lines = (out / "reference_logps.jsonl").read_text().splitlines()[1:]
    given = [(row["chosen"], row["rejected"]) for row in map(json.loads, lines)]

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoPeftModelForCausalLM.from_pretrained(adapter).eval()
    pairs = load_dataset("parquet", data_files=pairs_file, split="train")
    # polyphony orders the pairs of the evaluation split after those of the training split.
    order = sorted(range(len(pairs)), key=lambda row: pairs[row]["split"] == "test")
    order = [row for row in order if len(tokenizer.apply_chat_template(
        pairs[row]["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]) < LIMIT]
    assert len(given) == len(order) > 20, (len(given), len(order))
    for (chosen, rejected), row in zip(given, order):
        row = pairs[row]
        near(chosen, logps(model, tokenizer, row["prompt"], row["chosen"]), "chosen")
        near(rejected, logps(model, tokenizer, row["prompt"], row["rejected"]), "rejected")
    return 2 * len(given)


def main():
    polyphony, demo = sys.argv[1], pathlib.Path(sys.argv[2])
    tiny, adapter = str(demo / "tiny"), str(demo / "ddpo")
    pairs_file = str(demo / "store" / "pairs.parquet")
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        run = lambda *words: subprocess.run([polyphony, *words], check=True, stdout=subprocess.PIPE).stdout
        limits = ["--max-length", str(LIMIT), "--overlength", "truncate", "--max-steps", "1", "--no-shuffle"]
        rank_stabilised = str(scratch / "rslora")
        run("train", "orpo", "--model", tiny, "--data", pairs_file, "--out", rank_stabilised, "--use-rslora",
            "--lora-r", "9", "--target-modules", "all-linear", "--learning-rate", "1e-2", *limits)
        count = sum(log_probabilities(run, tiny, pairs_file, each, scratch, limits)
                    for each in (adapter, rank_stabilised))

        votes = str(scratch / "votes.parquet")
        run("sql", "--store", str(demo / "store"), "-c",
            f"COPY (SELECT prompt, text AS response, responses.score, split FROM responses "
            f"JOIN prompts ON prompts.prompt_id = responses.prompt_id ORDER BY response_id LIMIT 40) TO '{votes}'")
        run("train", "reward", "--model", tiny, "--data", votes, "--out", str(scratch / "reward"),
            "--learning-rate", "1e-3", *limits)
        rewards = json.loads("[" + ",".join(run(
            "sql", "--format", "ndjson", "-c",
            f"SELECT prompt, response, reward(prompt, substr(response, 1, 100), '{scratch}/reward') AS reward "
            f"FROM '{votes}' LIMIT 8").decode().splitlines()) + "]")
        tokenizer = AutoTokenizer.from_pretrained(tiny)
        judge = AutoPeftModelForSequenceClassification.from_pretrained(
            scratch / "reward", num_labels=1, pad_token_id=259).eval()
        for row in rewards:
            text = f"<prompt>{row['prompt']}</prompt><response>{row['response'][:100]}</response>"
            # A reward model truncates texts at the length with which it was trained.
            ids = torch.tensor([tokenizer(text)["input_ids"][:LIMIT]])
            with torch.no_grad():
                known = judge(input_ids=ids).logits.item()
            near(row["reward"], known, "reward")
    print(f"PEFT gives what polyphony gives: {count} log-probabilities, {len(rewards)} rewards")


main()
