"""Writes one small model with random weights for each decoder family, and the golden values of PyTorch for it.

    python tests/peers/families.py tests/fixtures/models

qwen2     Qwen 2.5: biases on q, k and v, an LM head of its own
qwen3     Qwen 3: norms of queries and keys, a head size that is not hidden size / heads
llama32   Llama 3.2: RoPE scaling of the kind llama3, tied embeddings
smollm2   SmolLM2: tied embeddings, digits one by one
gemma3    Gemma 3 270M: five sliding layers to a full one, two RoPE bases, norms of 1 + w around attention and MLP

Each folder has the model (bfloat16), its tokenizer with a chat template of the family's kind, an adapter on all linear
layers, and expected.json: token ids of the pairs, log-probabilities, losses and gradients of two methods, curves of
six steps of AdamW, and greedy text. families.jsonl has the pairs, which are those of llama, shortened.
"""
import json
import shutil
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

folder = Path(sys.argv[1])
torch.set_num_threads(1)
BETA, LAMBDA = 0.1, 0.25
METHODS = ["ddpo", "dorpo"]


def shortened(text, size):
    return text.strip()[:size].rsplit(" ", 1)[0].strip()


def pairs():
    rows = [json.loads(line) for line in (folder / "llama" / "pairs.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["prompt"][0]["content"] = shortened(row["prompt"][0]["content"], 90)
        for side, size in (("chosen", 60 + 12 * number), ("rejected", 150 - 9 * number)):
            row[side][0]["content"] = shortened(row[side][0]["content"], size)
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "families.jsonl").write_text(text + "\n")
    return rows


ROWS = pairs()
CORPUS = [message["content"] for row in ROWS for field in ("prompt", "chosen", "rejected") for message in row[field]]

# Chat templates written for the tests, with the Jinja features of each family's own.
TEMPLATES = {
    "qwen2": """{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nWrite well.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "qwen3": """{%- set ns = namespace(last=messages|length - 1, open=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.open and message.role == "user" and message.content is string and not message.content.startswith('<tool>') %}
        {%- set ns.open = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    "llama32": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}{%- set date_string = "one day" %}{%- endif %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" + "Written " + date_string + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "smollm2": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
Be of help.<|im_end|>
' }}{% endif %}{{ '<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}""",
    "gemma3": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("user and assistant must take turns") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\\n' }}
{%- endif -%}
""",
}
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(special, split, vocabulary=320):
    """A byte-level BPE tokenizer with these special tokens, whose pre-tokenizer begins with `split`."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None or "Digits" in repr(split))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def begins_with(tokenizer, bos):
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))])


def qwen_tokenizer():
    split = pre_tokenizers.Split(Regex(CONTRACTIONS % ""), behavior="isolated", invert=False)
    tokenizer = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], split)
    tokenizer.normalizer = normalizers.NFC()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def llama_tokenizer():
    split = pre_tokenizers.Split(Regex(CONTRACTIONS % "{1,3}"), behavior="isolated", invert=False)
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = byte_level(special, split)
    begins_with(tokenizer, special[0])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[3], pad_token=special[3])


def smollm_tokenizer():
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = byte_level(special, pre_tokenizers.Digits(individual_digits=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>")


def gemma_tokenizer():
    """A BPE tokenizer of characters, with a token for each byte that no other token has."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    trained.train_from_iterator(CORPUS[:-2], trainers.BpeTrainer(vocab_size=140, show_progress=False))
    bpe = json.loads(trained.to_str())["model"]
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    tokens = special + [f"<0x{byte:02X}>" for byte in range(256)]
    tokens += [token for token, _ in sorted(bpe["vocab"].items(), key=lambda item: item[1])]
    tokenizer = Tokenizer(models.BPE(
        vocab={token: index for index, token in enumerate(tokens)}, merges=[tuple(pair) for pair in bpe["merges"]],
        byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = trained.normalizer, trained.pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    begins_with(tokenizer, "<bos>")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")


SHAPE = dict(
    hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2,
    max_position_embeddings=512, initializer_range=0.2,
)
ROPE_LLAMA3 = dict(
    rope_type="llama3", rope_theta=500000.0, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
FAMILIES = {
    "qwen2": (qwen_tokenizer, Qwen2ForCausalLM, Qwen2Config, dict(
        **SHAPE, tie_word_embeddings=False, rope_parameters=dict(rope_type="default", rope_theta=1000000.0),
        use_sliding_window=False, sliding_window=8, rms_norm_eps=1e-6)),
    "qwen3": (qwen_tokenizer, Qwen3ForCausalLM, Qwen3Config, dict(
        **SHAPE, head_dim=12, tie_word_embeddings=True, rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0))),
    "llama32": (llama_tokenizer, LlamaForCausalLM, LlamaConfig, dict(
        **SHAPE, head_dim=8, tie_word_embeddings=True, rms_norm_eps=1e-5, rope_parameters=ROPE_LLAMA3)),
    "smollm2": (smollm_tokenizer, LlamaForCausalLM, LlamaConfig, dict(
        **{**SHAPE, "num_attention_heads": 3, "num_key_value_heads": 1, "hidden_size": 24}, head_dim=8,
        tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_parameters=dict(rope_type="default", rope_theta=100000.0))),
    "gemma3": (gemma_tokenizer, Gemma3ForCausalLM, Gemma3TextConfig, dict(
        hidden_size=24, intermediate_size=32, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=6,
        head_dim=16, query_pre_attn_scalar=20, sliding_window=16, max_position_embeddings=512, initializer_range=0.2,
        rms_norm_eps=1e-6, rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=2.0, rope_theta=1000000.0),
            sliding_attention=dict(rope_type="default", rope_theta=10000.0)))),
}
# The tokens that end a text besides the tokenizer's end-of-sequence token.
END_OF_TURN = {"gemma3": ["<eos>", "<end_of_turn>"], "qwen2": ["<|im_end|>", "<|endoftext|>"]}


def write_model(name):
    """Writes the model and its tokenizer; the weights of norms and biases are random, too, so that each is tested."""
    make_tokenizer, model_class, config_class, shape = FAMILIES[name]
    out = folder / name
    shutil.rmtree(out, ignore_errors=True)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATES[name]
    ends = tokenizer.convert_tokens_to_ids(END_OF_TURN.get(name, [tokenizer.eos_token]))
    torch.manual_seed(20261127)
    config = config_class(
        vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=ends[0],
        pad_token_id=tokenizer.pad_token_id, **shape)
    model = model_class(config)
    with torch.no_grad():
        for tensor_name, tensor in model.named_parameters():
            if tensor.dim() == 1:
                mean = 1.0 if tensor_name.endswith("norm.weight") and name != "gemma3" else 0.0
                tensor.copy_(mean + 0.3 * torch.randn(tensor.shape))
    model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]
    model.to(torch.bfloat16).save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    return out


def write_adapter(out, model):
    # Not `all-linear`, which PEFT saves as the paths of all modules if these are few.
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = LoraConfig(r=2, lora_alpha=4, target_modules=modules, task_type="CAUSAL_LM")
    policy = get_peft_model(model, lora)
    with torch.no_grad():
        for parameter_name, tensor in policy.named_parameters():
            if "lora_" in parameter_name:
                tensor.copy_(0.3 * torch.randn(tensor.shape))
    policy.save_pretrained(out / "adapter")
    config = out / "adapter" / "adapter_config.json"
    fields = json.loads(config.read_text())
    kept = ["base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "lora_alpha", "lora_dropout", "peft_type",
            "r", "target_modules", "task_type", "use_dora", "use_rslora"]
    fields = {name: fields[name] for name in kept}
    fields["base_model_name_or_path"] = None
    fields["target_modules"] = sorted(fields["target_modules"])
    config.write_text(json.dumps(fields, indent=1) + "\n")
    (out / "adapter" / "README.md").unlink(missing_ok=True)


def rounded(value):
    return float(f"{value:.8g}")


def token_logps(model, ids):
    """The log-probabilities of a text's tokens except the first."""
    ids = torch.tensor([ids])
    logits = model(input_ids=ids).logits[0, :-1]
    return torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0]


def load(out):
    return AutoModelForCausalLM.from_pretrained(out / "model", dtype=torch.float32, attn_implementation="eager").eval()


def tokenized(tokenizer, row, side):
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
    whole = tokenizer.apply_chat_template(row["prompt"] + row[side], return_dict=True)["input_ids"]
    assert whole[: len(prompt)] == prompt
    return whole, len(prompt)


def losses(policy, pairs):
    """DDPO and DORPO: the losses of DPO and ORPO as in TRL (DPO with sums; ORPO with means, its likelihood term over the
    prompt, too), that of each pair times its weight."""
    dpo, orpo = [], []
    for pair in pairs:
        sums, means, start = {}, {}, pair["prompt_len"] - 1
        for side in ("chosen", "rejected"):
            logps = token_logps(policy, pair[f"{side}_ids"])
            sums[side] = logps[start:].sum() - pair[f"ref_logp_{side}"]
            means[side] = logps[start:].mean()
            if side == "chosen":
                nll = -logps.mean()
        dpo.append(-F.logsigmoid(BETA * (sums["chosen"] - sums["rejected"])))
        odds = {side: mean - torch.log1p(-mean.exp()) for side, mean in means.items()}
        orpo.append(nll - LAMBDA * F.logsigmoid(odds["chosen"] - odds["rejected"]))
    weights = torch.tensor([row["weight"] for row in ROWS])
    dpo, orpo = torch.stack(dpo), torch.stack(orpo)
    return {"ddpo": (weights * dpo).mean(), "dorpo": (weights * orpo).mean()}


def curve(out, pairs, method):
    """Loss and gradient norm of six steps of AdamW on all pairs, with clipping and a constant learning rate."""
    policy = PeftModel.from_pretrained(load(out), out / "adapter", is_trainable=True)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.01)
    steps = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = losses(policy, pairs)[method]
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        steps.append([loss.item(), norm.item()])
    return {"loss_and_grad_norm": steps}


def greedy(model, tokenizer, lengths=(3, 9, 40, 70)):
    """Log-probabilities of random ids, and the 40 ids that are most probable one after another."""
    rows = []
    for length in lengths:
        ids = torch.randint(3, len(tokenizer), (length,)).tolist()
        with torch.no_grad():
            logps = token_logps(model, ids).tolist()
        text = model.generate(
            torch.tensor([ids]), max_new_tokens=40, do_sample=False, eos_token_id=None, pad_token_id=0)
        rows.append({"ids": ids, "logps": [rounded(value) for value in logps], "greedy": text[0, length:].tolist()})
    return rows


def main():
    for name in FAMILIES:
        out = write_model(name)
        tokenizer = AutoTokenizer.from_pretrained(out / "model")
        rows = greedy(load(out), tokenizer)
        write_adapter(out, load(out))
        base = load(out)
        policy = PeftModel.from_pretrained(load(out), out / "adapter", is_trainable=True).eval()
        pairs = []
        for row in ROWS:
            pair = {}
            for side in ("chosen", "rejected"):
                pair[f"{side}_ids"], pair["prompt_len"] = tokenized(tokenizer, row, side)
                with torch.no_grad():
                    for field, model in (("ref_logp", base), ("logp", policy)):
                        logps = token_logps(model, pair[f"{side}_ids"])
                        pair[f"{field}_{side}"] = logps[pair["prompt_len"] - 1 :].sum().item()
                    if side == "chosen":
                        pair["nll_chosen_prompt_and_completion"] = -logps.mean().item()
                        pair["nll_chosen_completion"] = -logps[pair["prompt_len"] - 1 :].mean().item()
            pairs.append(pair)
        expected = {"rows": rows, "pairs": pairs, "loss": {}, "grad": {}}
        for method in METHODS:
            policy.zero_grad()
            loss = losses(policy, pairs)[method]
            loss.backward()
            expected["loss"][method] = loss.item()
            expected["grad"][method] = {
                parameter.replace(".default", ""): [
                    rounded(value.grad.norm().item()), [rounded(one) for one in value.grad.flatten()[:3].tolist()]]
                for parameter, value in policy.named_parameters() if value.requires_grad
            }
        expected["curve"] = {method: curve(out, pairs, method) for method in METHODS}
        (out / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
        print(name, {method: round(loss, 4) for method, loss in expected["loss"].items()},
              [len(pair["chosen_ids"]) for pair in pairs])


main()
