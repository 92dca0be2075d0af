"""Writes what transformers and PyTorch compute with Gemma 3 270M, next to the model of fetch_gemma3.py.

    PEERS/bin/python tests/peers/gemma3.py FOLDER data/WritingPrompts_comments.jsonl tests/fixtures/models/llama/pairs.jsonl

FOLDER/expected.json: token ids of 50 stories of the demo and of r/WritingPrompts, 64 greedy tokens after two openings, the log-probabilities of the
responses of pairs, and the loss and gradient norm of a first step of DDPO from FOLDER/adapter, on FOLDER/pairs.jsonl.
"""
import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

STORIES, BETA = 50, 0.1
WEIGHTS = [0.7, 1.6]


def main():
    folder, stories = pathlib.Path(sys.argv[1]), []
    if (folder / "expected.json").is_file():
        return
    for line in pathlib.Path(sys.argv[2]).read_text().splitlines():
        text = json.loads(line)["body"]
        if len(text) > 200:
            stories.append(text)
    pairs = [json.loads(line) for line in pathlib.Path(sys.argv[3]).read_text().splitlines()]
    published = [pair[side][0]["content"] for pair in pairs for side in ("chosen", "rejected")]
    stories = stories[: STORIES - len(published)] + published
    assert len(stories) == STORIES
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    load = lambda: AutoModelForCausalLM.from_pretrained(
        folder / "model", dtype=torch.float32, attn_implementation="eager").eval()
    model = load()
    expected = {"stories": [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in stories], "greedy": []}

    for text in (stories[0], stories[7]):
        opening = " ".join(text.split()[:20])
        ids = tokenizer(opening, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            whole = model.generate(ids, max_new_tokens=64, do_sample=False, eos_token_id=None)
        expected["greedy"].append({"prompt": opening, "ids": whole[0, ids.shape[1]:].tolist()})

    # Pairs of plain text: the prompt is a story's first sentence, the responses are pieces of stories.
    pairs = []
    for index, weight in enumerate(WEIGHTS):
        prompt, *rest = stories[10 + index].split(". ")
        pieces = [". ".join(rest), stories[20 + index]]
        chosen, rejected = (" " + " ".join(piece.split()[:70]) for piece in pieces)
        pairs.append({"prompt": prompt + ".", "chosen": chosen, "rejected": rejected, "weight": weight})
    lines = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
    (folder / "pairs.jsonl").write_text(lines)

    torch.manual_seed(3)
    policy = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, tensor in policy.named_parameters():
            if "lora_B" in name:
                tensor.copy_(0.01 * torch.randn(tensor.shape))
    policy.save_pretrained(folder / "adapter")
    policy = PeftModel.from_pretrained(load(), folder / "adapter", is_trainable=True).eval()

    def logp(pair, side):
        """The log-probability of a response with the end-of-sequence token, as in TRL."""
        prompt = tokenizer(pair["prompt"])["input_ids"]
        ids = tokenizer(pair["prompt"] + pair[side] + tokenizer.eos_token)["input_ids"]
        assert ids[: len(prompt)] == prompt
        ids = torch.tensor([ids])
        each = torch.log_softmax(policy(input_ids=ids).logits[0, :-1], -1).gather(1, ids[0, 1:, None])[:, 0]
        return each[len(prompt) - 1 :].sum()

    losses, expected["logps"] = [], []
    for pair in pairs:
        with torch.no_grad(), policy.disable_adapter():
            chosen, rejected = logp(pair, "chosen"), logp(pair, "rejected")
        expected["logps"].append({"chosen": chosen.item(), "rejected": rejected.item()})
        margin = (logp(pair, "chosen") - chosen) - (logp(pair, "rejected") - rejected)
        losses.append(-pair["weight"] * F.logsigmoid(BETA * margin))
    loss = torch.stack(losses).mean()
    loss.backward()
    squares = [value.grad.double().square().sum() for value in policy.parameters() if value.requires_grad]
    expected["step"] = {"loss": loss.item(), "grad_norm": torch.stack(squares).sum().sqrt().item()}
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n")
    print(expected["logps"], expected["step"], tokenizer.decode(expected["greedy"][0]["ids"]))


main()
