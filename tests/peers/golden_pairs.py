"""The golden pairs of tests/fixtures/models: model, adapter, token ids, weights, and summaries of gradients."""
import json
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

MODELS = ["llama", "mistral"]


class Golden:
    def __init__(self, fixtures, name):
        self.name, self.folder = name, Path(fixtures) / "models" / name
        self.base = self.load_base()
        self.policy = PeftModel.from_pretrained(self.load_base(), self.folder / "adapter", is_trainable=True)
        self.rows = [json.loads(line) for line in (self.folder / "pairs.jsonl").read_text().splitlines()]
        self.pairs = json.loads((self.folder / "expected.json").read_text())["pairs"]
        self.weights = [row["weight"] for row in self.rows]

    def load_base(self):
        return AutoModelForCausalLM.from_pretrained(self.folder / "model", dtype=torch.float32)

    def token_logps(self, model, index, side):
        """Log-probabilities of a text's tokens except the first, and the number of these that are the prompt's."""
        pair = self.pairs[index]
        ids = torch.tensor([pair[f"{side}_ids"]])
        logits = model(input_ids=ids).logits[0, :-1]
        return torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0], pair["prompt_len"] - 1

    def case(self, loss, **options):
        """A golden case: the loss, and of each parameter's gradient the norm and the first four values."""
        self.policy.zero_grad()
        loss.backward()
        gradients = {
            name.replace(".default", ""): [value.grad.norm().item(), value.grad.flatten()[:4].tolist()]
            for name, value in self.policy.named_parameters() if value.requires_grad
        }
        return {"model": self.name, **options, "loss": loss.item(), "grad": gradients}


def write(path, cases):
    """Writes the cases, one a line."""
    lines = ",\n".join(json.dumps(case) for case in cases)
    Path(path).write_text('{"cases": [\n' + lines + "\n]}\n")
