"""Golden values of the published form of DORPO (DiversityTuning, dorpo_trainer.py) on the golden pairs, by PyTorch.

    python tests/peers/dorpo_reference.py tests/fixtures

Writes dorpo_reference.json. On each device: the mean weight of its batch times the mean cross-entropy over all tokens
of its chosen texts, prompts included, and the odds ratio term with the weight inside the sigmoid. The step's loss is
the mean over one or four devices.
"""
import sys

import torch
import torch.nn.functional as F
from golden_pairs import MODELS, Golden, write

LAMBDA = 0.25


def device_loss(golden, indices):
    nll, tokens, ratios = 0.0, 0, []
    for index in indices:
        means = []
        for side in ("chosen", "rejected"):
            logps, prompt = golden.token_logps(golden.policy, index, side)
            means.append(logps[prompt:].mean())
            if side == "chosen":
                nll, tokens = nll - logps.sum(), tokens + len(logps)
        chosen, rejected = means
        log_odds = (chosen - rejected) - (torch.log1p(-chosen.exp()) - torch.log1p(-rejected.exp()))
        ratios.append(LAMBDA * F.logsigmoid(golden.weights[index] * log_odds))
    weights = torch.tensor([golden.weights[index] for index in indices])
    return (weights * (nll / tokens)).mean() - torch.stack(ratios).mean()


def main():
    fixtures, cases = sys.argv[1], []
    for name in MODELS:
        for devices in (1, 4):
            golden = Golden(fixtures, name)
            per_device = len(golden.rows) // devices
            parts = [range(device * per_device, (device + 1) * per_device) for device in range(devices)]
            loss = torch.stack([device_loss(golden, part) for part in parts]).mean()
            cases.append(golden.case(loss, devices=devices))
            print(name, devices, loss.item())
    write(f"{fixtures}/dorpo_reference.json", cases)


main()
