"""Benchmark: DPO training steps on the CPU, compared with the same steps in PyTorch.

    python benches/train.py BINARY DEMO ROUNDS

DEMO is the output of `polyphony demo --out DEMO`. Both sides train the demo's tiny Llama with LoRA on q_proj
and v_proj by DPO with precomputed reference log-probabilities, on the same pairs in the same batches, in f32, on
two threads. PyTorch runs transformers' model with PEFT's LoRA and pads each batch to its longest text, as TRL
does. Both start from the demo's SFT adapter with the base model as reference model, and their losses are compared
step by step. Rounds alternate; padding does not count as tokens.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)
os.environ["RAYON_NUM_THREADS"] = str(THREADS)

import torch
from datasets import load_dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(THREADS)
LIMIT, STEPS, PAIRS = 512, 10, 8


def polyphony(binary, model, adapter, pairs, out):
    words = [binary, "train", "dpo", "--model", model, "--data", pairs, "--out", out, "--max-steps", str(STEPS),
             "--batch-size", str(PAIRS), "--max-length", str(LIMIT), "--overlength", "truncate", "--no-shuffle",
             "--adapter", adapter, "--reference", "base", "--learning-rate", "1e-4", "--lr-scheduler-type", "constant",
             "--eval-steps", "1000"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = [json.loads(line) for line in open(pathlib.Path(out) / "metrics.jsonl")]
    # Lines of evaluations have no `loss`.
    lines = [line for line in lines if "loss" in line]
    # The first step, which allocates memory, is not timed on either side.
    speeds = [line["tokens_per_second"] for line in lines[1:]]
    tokens = [b["num_tokens"] - a["num_tokens"] for a, b in zip(lines, lines[1:])]
    return sum(tokens) / sum(t / s for t, s in zip(tokens, speeds)), [line["loss"] for line in lines]


def batches(tokenizer, rows):
    """Padded token ids, attention masks, completion masks and token counts; chosen texts before rejected ones."""
    made = []
    # The last batch of an epoch may be smaller.
    epoch = [rows[start : start + PAIRS] for start in range(0, len(rows), PAIRS)]
    for step in range(STEPS):
        texts = []
        for side in ("chosen", "rejected"):
            for row in epoch[step % len(epoch)]:
                start = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)
                whole = tokenizer.apply_chat_template(row["prompt"] + row[side], return_dict=True)
                texts.append((whole["input_ids"][:LIMIT], len(start["input_ids"])))
        longest = max(len(ids) for ids, _ in texts)
        ids = torch.full((len(texts), longest), tokenizer.pad_token_id)
        mask, completion = torch.zeros_like(ids), torch.zeros_like(ids)
        for number, (text, start) in enumerate(texts):
            ids[number, : len(text)] = torch.tensor(text)
            mask[number, : len(text)] = 1
            completion[number, start : len(text)] = 1
        made.append((ids, mask, completion, sum(len(text) for text, _ in texts)))
    return made


def logps(model, ids, mask, completion):
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    each = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None]).squeeze(2)
    return (each * completion[:, 1:]).sum(1)


def pytorch(model_name, adapter, tokenizer, rows):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(model_name, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    data = batches(tokenizer, rows)
    with torch.no_grad(), model.disable_adapter():
        references = [logps(model, *batch[:3]) for batch in data]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0)
    seconds = tokens = 0
    losses = []
    for step, (batch, reference) in enumerate(zip(data, references)):
        start = time.perf_counter()
        ratio = logps(model, *batch[:3]) - reference
        chosen, rejected = ratio.chunk(2)
        margin = chosen - rejected
        loss = -torch.nn.functional.logsigmoid(0.1 * margin).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step > 0:
            seconds += time.perf_counter() - start
            tokens += batch[3]
    return tokens / seconds, losses


def main():
    binary, demo, rounds = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    model, pairs, adapter = str(demo / "tiny"), str(demo / "store" / "pairs.parquet"), str(demo / "sft")
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [row for row in load_dataset("parquet", data_files=pairs, split="train") if row["split"] != "test"]
    rows = [row for row in rows if len(tokenizer.apply_chat_template(
        row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]) < LIMIT]
    ratios = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as out:
            ours, our_losses = polyphony(binary, model, adapter, pairs, out)
        theirs, their_losses = pytorch(model, adapter, tokenizer, rows)
        apart = max(abs(ours_loss - theirs_loss) for ours_loss, theirs_loss in zip(our_losses, their_losses))
        assert len(set(our_losses)) == STEPS and apart < 1e-4, (our_losses, their_losses)
        ratios.append(ours / theirs)
        print(f"round {number + 1}: polyphony {ours:.0f} tokens/s, PyTorch {theirs:.0f}, ratio {ours / theirs:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


main()
