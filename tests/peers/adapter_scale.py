"""Writes tests/fixtures/adapter_scale.json: golden logits and greedy texts of PEFT's scaled LoRA adapters.

    python tests/peers/adapter_scale.py tests/fixtures/models tests/fixtures/adapter_scale.json
"""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, AutoTokenizer

models, out = Path(sys.argv[1]), Path(sys.argv[2])
torch.set_num_threads(1)
SCALES = (0.0, 0.25, 0.5, 1.0, 1.5)

cases = []
for name in ("llama", "mistral"):
    tokenizer = AutoTokenizer.from_pretrained(models / name / "model")
    row = json.loads((models / name / "pairs.jsonl").open().readline())
    text = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    for scale in SCALES:
        base = AutoModelForCausalLM.from_pretrained(models / name / "model", dtype=torch.float32)
        model = PeftModel.from_pretrained(base, models / name / "adapter").eval()
        for layer in model.modules():
            if isinstance(layer, LoraLayer):
                layer.set_scale("default", scale)
        with torch.no_grad():
            logits = model(**ids).logits[0, -1]
        tokens = model.generate(**ids, max_new_tokens=24, do_sample=False, repetition_penalty=1.0)
        cases.append(
            {
                "model": name,
                "scale": scale,
                "prompt": ids["input_ids"][0].tolist(),
                "logits": [round(value, 6) for value in logits[:64].tolist()],
                "tokens": tokens[0, ids["input_ids"].shape[1] :].tolist(),
            }
        )

out.write_text(json.dumps({"cases": cases}, indent=1) + "\n")
