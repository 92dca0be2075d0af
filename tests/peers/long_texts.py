"""Writes golden embeddings of long texts as means of windows (--long-texts mean), by transformers and torch.

    python tests/peers/long_texts.py tests/fixtures > tests/fixtures/long_texts.json

It shares no code with the program: windows are those of transformers' `return_overflowing_tokens`; with a prompt,
each window is put together from token ids. The formula: the embeddings of the windows, pooled and normalised as the
model says, averaged with the windows' numbers of tokens (without special tokens and prompt) as weights, and
normalised again if the model normalises. The fixture is from transformers 5.23.0 and torch 2.15.0 on the CPU.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

torch.set_num_threads(1)
fixtures = Path(sys.argv[1])
PROMPT = "Represent the story: "


def windows(tokenizer, text, limit, prompt):
    """The ids of each window, and the number of the text's own tokens in it."""
    if not prompt:
        ids = tokenizer(text, truncation=True, max_length=limit, return_overflowing_tokens=True, stride=0)["input_ids"]
        ids = ids if ids and isinstance(ids[0], list) else [ids]
        return ids, [len(window) - 2 for window in ids]
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    own = tokenizer(text, add_special_tokens=False)["input_ids"]
    room = limit - 2 - len(before)
    parts = [own[start : start + room] for start in range(0, max(len(own), 1), room)]
    around = tokenizer("")["input_ids"]
    return [[around[0], *before, *part, around[1]] for part in parts], [len(part) for part in parts]


def embed(model, ids, pooling, normalize):
    with torch.no_grad():
        hidden = model(torch.tensor([ids])).last_hidden_state[0].double()
    pooled = hidden[0] if pooling == "cls" else hidden.mean(0)
    return pooled / pooled.norm() if normalize else pooled


def golden(name, prompt=""):
    folder = fixtures / "models" / name / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    limit = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    modules = json.loads((folder / "modules.json").read_text())
    normalize = any(module["type"].endswith("Normalize") for module in modules)
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    pooling = "cls" if pooling["pooling_mode_cls_token"] else "mean"
    rows = json.loads((fixtures / "models" / name / "expected.json").read_text())["rows"]
    longest = max((row["text"] for row in rows), key=len)
    room = limit - 2
    once = len(tokenizer("ship", add_special_tokens=False)["input_ids"])
    more = len(tokenizer("ship ship", add_special_tokens=False)["input_ids"]) - once
    fitting = 1 + (room - once) // more
    texts = ["", rows[0]["text"], longest[:900], longest]
    # Texts around the limit: the last one that fits, and the first one that does not.
    texts += [" ".join(["ship"] * count) for count in (fitting, fitting + 1)]
    out = []
    for text in texts:
        ids, weights = windows(tokenizer, text, limit, prompt)
        vectors = torch.stack([embed(model, window, pooling, normalize) for window in ids])
        vector = vectors[0]
        if len(ids) > 1:
            shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
            vector = (shares[:, None] * vectors).sum(0)
            vector = vector / vector.norm() if normalize else vector
        vector = [float(f"{value:.7g}") for value in vector.tolist()]
        out.append({"text": text, "windows": weights, "vector": vector})
    return {"prompt": prompt, "rows": out}


cases = {name: golden(name) for name in ("minilm_bert", "style_roberta", "xlm_roberta")}
cases["minilm_bert with a prompt"] = golden("minilm_bert", PROMPT)
json.dump(cases, sys.stdout, ensure_ascii=True, separators=(",", ":"))
print()
