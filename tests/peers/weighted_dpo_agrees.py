"""Peer test: weighted_dpo.py in TRL's DPOTrainer has the losses of `polyphony train ddpo`, step by step.

    python tests/peers/weighted_dpo_agrees.py POLYPHONY DEMO

DEMO is the output of `polyphony demo --out DEMO`: a tiny Llama, its adapters, and a store. The stock DPOTrainer, which
does not read `weight`, must differ. Then a preference file of 200 prompts, as strings and as chats: `polyphony weigh`,
`datasets`, one epoch of each.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
from datasets import load_dataset
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer
from weighted_dpo import WeightedDPOTrainer

# TRL sums log-probabilities in f32: texts are short, so that the sums have digits enough for the comparison.
MAX_LENGTH, BATCH, RATE = 160, 4, 3e-4
PROMPTS = 200


def recording(trainer_class):
    """The class with the losses of all steps in `losses`."""

    class Recording(trainer_class):
        losses = []

        def training_step(self, *args, **kwargs):
            loss = super().training_step(*args, **kwargs)
            self.losses.append(loss.item())
            return loss

    return Recording


def by_trl(trainer_class, tiny, adapter, pairs, scratch, precompute, sft_weight):
    arguments = DPOConfig(
        output_dir=scratch, num_train_epochs=1, per_device_train_batch_size=BATCH, max_length=MAX_LENGTH,
        learning_rate=RATE, lr_scheduler_type="linear", train_sampling_strategy="sequential", report_to=[],
        use_cpu=True, bf16=False, gradient_checkpointing=False, precompute_ref_log_probs=precompute,
        loss_type=["sigmoid", "sft"] if sft_weight else ["sigmoid"], save_strategy="no",
        loss_weights=[1.0, sft_weight] if sft_weight else None,
    )
    model = AutoPeftModelForCausalLM.from_pretrained(adapter, is_trainable=True)
    trainer = recording(trainer_class)(
        model=model, args=arguments, train_dataset=pairs, processing_class=AutoTokenizer.from_pretrained(tiny))
    trainer.train()
    return trainer.losses


def by_polyphony(polyphony, tiny, adapter, pairs_file, out, sft_weight):
    subprocess.run([
        polyphony, "train", "ddpo", "--model", tiny, "--adapter", adapter, "--data", pairs_file, "--out", out,
        "--max-length", str(MAX_LENGTH), "--overlength", "truncate", "--no-shuffle", "--num-train-epochs", "1",
        "--batch-size", str(BATCH), "--learning-rate", str(RATE), "--sft-weight", str(sft_weight),
    ], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = map(json.loads, (pathlib.Path(out) / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def weighed_preferences(polyphony, folder, form):
    """A file of preferences to PROMPTS prompts, four responses in two pairs to each, with weights by `weigh`."""
    random = numpy.random.default_rng(7)
    words = "the door a key old lamp opens burns never at night into rain and she he they forgot kept sold".split()
    text = lambda: " ".join(random.choice(words, random.integers(4, 12)))
    wrap = lambda role, content: content if form == "strings" else [{"role": role, "content": content}]
    rows = []
    for number in range(PROMPTS):
        prompt, texts = f"Write about {number}.", [text() for _ in range(4)]
        rows += [{"prompt": wrap("user", prompt), "chosen": wrap("assistant", chosen),
                  "rejected": wrap("assistant", rejected)} for chosen, rejected in (texts[:2], texts[2:])]
    folder.mkdir()
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    subprocess.run([polyphony, "weigh", folder / "in.jsonl", "--out", folder / "out.jsonl"], check=True,
                   capture_output=True)
    return str(folder / "out.jsonl")


def main():
    polyphony, demo = sys.argv[1], pathlib.Path(sys.argv[2])
    tiny, adapter = str(demo / "tiny"), str(demo / "ddpo")
    pairs_file = str(demo / "store" / "pairs.parquet")
    pairs = load_dataset("parquet", data_files=pairs_file, split="train").filter(lambda row: row["split"] == "train")
    zero = sum(weight == 0 for weight in pairs["weight"])
    assert zero > 0, "pairs of weight 0 belong to this test"
    with tempfile.TemporaryDirectory() as scratch:
        for form in ("strings", "chats"):
            file = weighed_preferences(polyphony, pathlib.Path(scratch) / form, form)
            rows = load_dataset("json", data_files=file, split="train", cache_dir=f"{scratch}/{form}/cache")
            options = (tiny, adapter, rows, scratch, False, 0.0)
            ours = by_polyphony(polyphony, tiny, adapter, file, f"{scratch}/{form}/out", 0.0)
            theirs = by_trl(WeightedDPOTrainer, *options)
            assert len(ours) == len(theirs) == len(rows) // BATCH, (len(ours), len(theirs), len(rows))
            off = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs))
            assert off <= 1e-5, f"off by {off}: {list(zip(ours, theirs))}"
            print(f"{PROMPTS} prompts as {form}: weighed, read by datasets, an epoch of {len(ours)} steps off by at most "
                  f"{off:.1e}")
        for precompute, sft_weight in ((False, 0.0), (True, 0.0), (False, 0.3)):
            ours = by_polyphony(polyphony, tiny, adapter, pairs_file, f"{scratch}/{precompute}{sft_weight}", sft_weight)
            options = (tiny, adapter, pairs, scratch, precompute, sft_weight)
            theirs, stock = by_trl(WeightedDPOTrainer, *options), by_trl(DPOTrainer, *options)
            assert len(ours) == len(theirs) > 5, (len(ours), len(theirs))
            off = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs))
            assert off <= 1e-5, f"off by {off}: {list(zip(ours, theirs))}"
            assert max(abs(a - b) for a, b in zip(theirs, stock)) > 1e-2, "the weight has no effect"
            assert ours[-1] != ours[0]
            print(f"weighted_dpo.py has polyphony's losses in {len(ours)} steps of {BATCH} (sft weight {sft_weight}): "
                  f"off by at most {off:.1e}, {zero} of {len(pairs)} pairs have weight 0")


main()
