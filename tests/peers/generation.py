"""Writes tests/fixtures/generation.json: golden values of transformers' greedy generation and logits processors.

    python tests/peers/generation.py tests/fixtures/models tests/fixtures/generation.json
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation import logits_process as process

models, out = Path(sys.argv[1]), Path(sys.argv[2])
torch.manual_seed(0)
torch.set_num_threads(1)

greedy = {}
for name in ("llama", "mistral"):
    folder = models / name / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = [json.loads(line) for line in (models / name / "pairs.jsonl").open()]
    greedy[name] = []
    for row in rows:
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
        for penalty in (1.0, 1.1):
            text = model.generate(
                **ids, max_new_tokens=64, do_sample=False, repetition_penalty=penalty
            )[0]
            tokens = text[ids["input_ids"].shape[1] :].tolist()
            greedy[name].append(
                {"prompt": ids["input_ids"][0].tolist(), "penalty": penalty, "tokens": tokens}
            )

# Logits of realistic magnitude, with ties and with many improbable tokens.
size = 300
logits = (torch.randn(size) * 3).round(decimals=3)
logits[10] = logits[20] = logits[30] = 4.5
text = [1, 10, 20, 20, 299, 5, 7]
settings = [
    {"temperature": 1.0, "top_k": 50, "top_p": 0.95, "min_p": 0.0, "repetition_penalty": 1.1},
    {"temperature": 0.7, "top_k": 0, "top_p": 0.9, "min_p": 0.0, "repetition_penalty": 1.0},
    {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.1, "repetition_penalty": 1.0},
    {"temperature": 0.3, "top_k": 3, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.3},
    {"temperature": 1.0, "top_k": 0, "top_p": 0.01, "min_p": 0.0, "repetition_penalty": 1.0},
    {"temperature": 2.0, "top_k": 100, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.2},
]
bent = []
for setting in settings:
    scores = logits[None].clone()
    ids = torch.tensor([text])
    if setting["repetition_penalty"] != 1.0:
        scores = process.RepetitionPenaltyLogitsProcessor(setting["repetition_penalty"])(ids, scores)
    if setting["temperature"] != 1.0:
        scores = process.TemperatureLogitsWarper(setting["temperature"])(ids, scores)
    if setting["top_k"]:
        scores = process.TopKLogitsWarper(setting["top_k"])(ids, scores)
    if setting["top_p"] < 1.0:
        scores = process.TopPLogitsWarper(setting["top_p"])(ids, scores)
    if setting["min_p"] > 0.0:
        scores = process.MinPLogitsWarper(setting["min_p"])(ids, scores)
    kept = [[token, value] for token, value in enumerate(scores[0].tolist()) if value > float("-inf")]
    bent.append({"setting": setting, "kept": kept})

out.write_text(
    json.dumps(
        {
            "made_with": {"transformers": transformers.__version__, "torch": torch.__version__},
            "greedy": greedy,
            "logits": logits.tolist(),
            "text": text,
            "bent": bent,
        }
    )
    + "\n"
)
