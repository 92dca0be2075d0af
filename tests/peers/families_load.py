"""Peer test: adapters on every decoder family load in PEFT and TRL and give what polyphony gives.

    python tests/peers/families_load.py POLYPHONY tests/fixtures/models

For each model of families.py: polyphony trains an adapter on all linear layers; PEFT gives the same log-probabilities
with it, and TRL's DPOTrainer, which goes on from it, the same loss in the next step.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

FAMILIES = ["llama32", "smollm2", "qwen2", "qwen3", "gemma3"]


def near(given, known, what):
    assert abs(given - known) <= 1e-4 * max(1.0, abs(known)), f"{what}: {given} for {known}"


def logp(model, tokenizer, row, side):
    start = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
    whole = tokenizer.apply_chat_template(row["prompt"] + row[side], return_dict=True)["input_ids"]
    ids = torch.tensor([whole])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1]
    each = torch.log_softmax(logits.double(), -1).gather(1, ids[0, 1:, None])[:, 0]
    return each[len(start) - 1 :].sum().item()


def next_loss(base, adapter, tokenizer, rows, folder):
    """TRL's loss on all pairs with the adapter as the policy and the base model as the reference."""
    load = lambda: AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    arguments = DPOConfig(
        output_dir=folder, per_device_train_batch_size=len(rows), beta=0.1, max_length=None, report_to=[], use_cpu=True,
        bf16=False, gradient_checkpointing=False, train_sampling_strategy="sequential")
    policy = PeftModel.from_pretrained(load(), adapter, is_trainable=True)
    trainer = DPOTrainer(
        model=policy, ref_model=load(), args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    batch = next(iter(trainer.get_train_dataloader()))
    return trainer.compute_loss(trainer.model, batch).item()


def main():
    polyphony, models = sys.argv[1], pathlib.Path(sys.argv[2])
    pairs = models / "families.jsonl"
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    for row in rows:
        del row["weight"]
    for name in FAMILIES:
        base = models / name / "model"
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)

            def train(out, *words):
                command = [polyphony, "train", "dpo", "--model", base, "--data", pairs, "--out", scratch / out,
                           "--batch-size", "8", "--no-shuffle", *words]
                subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE)
                return scratch / out

            adapter = train("adapter", "--max-steps", "3", "--lora-r", "4", "--target-modules", "all-linear",
                            "--learning-rate", "1e-2")
            by_us = train("next", "--max-steps", "1", "--adapter", adapter, "--reference", "base")
            lines = train("logps", "--max-steps", "1", "--adapter", adapter, "--reference", adapter)
            lines = (lines / "reference_logps.jsonl").read_text().splitlines()[1:]
            tokenizer = AutoTokenizer.from_pretrained(base)
            policy = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.float32).eval()
            assert len(lines) == len(rows)
            for line, row in zip(map(json.loads, lines), rows):
                for side in ("chosen", "rejected"):
                    near(line[side], logp(policy, tokenizer, row, side), f"{name} {side}")
            step = json.loads((by_us / "metrics.jsonl").read_text().splitlines()[0])
            loss = next_loss(base, adapter, tokenizer, rows, scratch / "trl")
            near(step["loss"], loss, f"{name}: loss")
            print(f"{name}: PEFT has the same {2 * len(rows)} log-probabilities, TRL the same loss {loss:.4f}")


main()
