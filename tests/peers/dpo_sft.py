"""Golden values of DPO and DDPO with an SFT term, by TRL's DPOTrainer on the golden pairs.

    python tests/peers/dpo_sft.py tests/fixtures

Writes dpo_sft.json: `loss_type=[LOSS, "sft"]`, `loss_weights=[1, A]`, over one and four devices, of which TRL takes
the mean; DDPO by weighted_dpo.py. The same is computed from log-probabilities alone, and must agree.
"""
import sys
import tempfile

import torch
import torch.nn.functional as F
from datasets import Dataset
from golden_pairs import MODELS, Golden, write
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer
from weighted_dpo import WeightedDPOTrainer

BETA = 0.1
CASES = [("dpo", "sigmoid", 0.7, 1), ("dpo", "ipo", 0.2, 4), ("ddpo", "sigmoid", 0.7, 1), ("ddpo", "sigmoid", 0.3, 4)]


def by_trl(golden, method, loss_type, sft_weight, devices, folder):
    """TRL's loss: the mean over devices of the losses of their batches."""
    arguments = DPOConfig(
        output_dir=folder, per_device_train_batch_size=len(golden.rows) // devices, beta=BETA, max_length=None,
        loss_type=[loss_type, "sft"], loss_weights=[1.0, sft_weight], report_to=[], use_cpu=True, bf16=False,
        gradient_checkpointing=False, train_sampling_strategy="sequential",
    )
    trainer = (WeightedDPOTrainer if method == "ddpo" else DPOTrainer)(
        model=golden.policy, ref_model=golden.base, args=arguments, train_dataset=Dataset.from_list(golden.rows),
        processing_class=AutoTokenizer.from_pretrained(golden.folder / "model"),
    )
    for row, pair in zip(trainer.train_dataset, golden.pairs):
        for side in ("chosen", "rejected"):
            assert row["prompt_ids"] + row[f"{side}_ids"] == pair[f"{side}_ids"]
    losses = [trainer.compute_loss(trainer.model, batch) for batch in trainer.get_train_dataloader()]
    assert len(losses) == devices
    return torch.stack(losses).mean()


def by_formula(golden, method, loss_type, sft_weight, devices):
    """The same from log-probabilities, in f64."""
    per_device, losses = len(golden.rows) // devices, []
    for start in range(0, len(golden.rows), per_device):
        preference, nll, tokens = [], 0.0, 0
        for index in range(start, start + per_device):
            ratios = []
            for side in ("chosen", "rejected"):
                logps, prompt = golden.token_logps(golden.policy, index, side)
                with torch.no_grad():
                    reference, _ = golden.token_logps(golden.base, index, side)
                logps, reference = logps[prompt:].double(), reference[prompt:].double()
                length = len(logps) if loss_type == "ipo" else 1
                ratios.append((logps.sum() - reference.sum()) / length)
                if side == "chosen":
                    nll, tokens = nll - logps.sum(), tokens + len(logps)
            margin = ratios[0] - ratios[1]
            loss = (margin - 0.5 / BETA) ** 2 if loss_type == "ipo" else -F.logsigmoid(BETA * margin)
            preference.append(loss * (golden.weights[index] if method == "ddpo" else 1.0))
        losses.append(torch.stack(preference).mean() + sft_weight * nll / tokens)
    return torch.stack(losses).mean()


def main():
    fixtures, cases = sys.argv[1], []
    for name in MODELS:
        for method, loss_type, sft_weight, devices in CASES:
            golden = Golden(fixtures, name)
            with tempfile.TemporaryDirectory() as folder:
                loss = by_trl(golden, method, loss_type, sft_weight, devices, folder)
            known = by_formula(golden, method, loss_type, sft_weight, devices).item()
            assert abs(loss.item() - known) <= 2e-6 * abs(known), (name, method, loss_type, loss.item(), known)
            options = {"method": method, "loss_type": loss_type, "sft_weight": sft_weight, "devices": devices}
            cases.append(golden.case(loss, **options))
            print(name, options, loss.item(), known)
    write(f"{fixtures}/dpo_sft.json", cases)


main()
