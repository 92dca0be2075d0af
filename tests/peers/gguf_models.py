"""Writes small GGUF files of models of families.py, as llama.cpp's converter lays them out, and golden values.

    PEERS/bin/python tests/peers/gguf_models.py tests/fixtures/models

needs the package gguf 0.19 (pip install --target FOLDER --no-deps gguf==0.19.0; PYTHONPATH=FOLDER). For each file,
gguf.json has token ids by transformers' own reading of the file, and log-probabilities and greedy text of transformers'
model with the weights as the package gguf dequantises them. llama32: Q8_0 and F16, pairs of RoPE side by side, RoPE
divisors as a tensor. qwen2: Q4_0 and F16, biases. gemma3: BF16, norms as 1 + w, linear RoPE scaling, a vocabulary without merges.
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = Path(sys.argv[1])
torch.set_num_threads(1)
FILES = {"llama32": ("llama", Type.Q8_0), "qwen2": ("qwen2", Type.Q4_0), "gemma3": ("gemma3", Type.BF16)}
PARTS = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}
TEXTS = ["The lighthouse  keeper counted 1234 ships\n\nthat never came.", "« Attends », dit la vieille; l'été. 雪", "it's 7 o'clock"]


def stored_name(name, family):
    if name.startswith("model.layers."):
        _, _, layer, rest = name.split(".", 3)
        path, kind = rest.rsplit(".", 1)
        after = "post_attention_norm" if family == "gemma3" else "ffn_norm"
        return f"blk.{layer}.{after if path == 'post_attention_layernorm' else PARTS[path]}.{kind}"
    return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight"}[name]


def side_by_side(weight, heads):
    """Value i of a head next to value i + D/2."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def back(weight, heads):
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write_tokenizer(writer, tokenizer, family):
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.get)
    added = {token["content"] for token in backend["added_tokens"]}
    kinds = [3 if token in added else 6 if token.startswith("<0x") else 1 for token in tokens]
    writer.add_tokenizer_model("llama" if family == "gemma3" else "gpt2")
    writer.add_tokenizer_pre({"llama": "llama-bpe", "qwen2": "qwen2", "gemma3": "default"}[family])
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if family == "gemma3":
        writer.add_token_scores([-1000.0 if kind != 1 else -float(index) for index, kind in enumerate(kinds)])
        writer.add_add_space_prefix(False)
        writer.add_unk_token_id(tokenizer.unk_token_id)
    else:
        writer.add_token_merges([" ".join(pair) for pair in backend["model"]["merges"]])
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(family != "qwen2")
    writer.add_chat_template(tokenizer.chat_template)


def write_settings(writer, config, family):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if family == "gemma3":
        writer.add_key_length(head)
        writer.add_sliding_window(config.sliding_window)
        writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_parameters["full_attention"]["factor"])
    else:
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    return head


def rope_divisors(config, head):
    """What llama.cpp's converter writes for RoPE scaling of the kind llama3."""
    rope = config.rope_parameters
    divisors = []
    for frequency in 1.0 / rope["rope_theta"] ** (np.arange(0, head, 2) / head):
        length = 2 * np.pi / frequency
        if length < rope["original_max_position_embeddings"] / rope["high_freq_factor"]:
            divisors.append(1.0)
        elif length > rope["original_max_position_embeddings"] / rope["low_freq_factor"]:
            divisors.append(rope["factor"])
        else:
            smooth = (rope["original_max_position_embeddings"] / length - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"])
            divisors.append(1.0 / ((1.0 - smooth) / rope["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


def main():
    for name, (family, kind) in FILES.items():
        source, out = folder / name / "model", folder / name / "gguf"
        out.mkdir(exist_ok=True)
        path = out / f"{name}.gguf"
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
        if family == "gemma3":
            # llama.cpp does not store it; its value follows from the head size.
            model.config.query_pre_attn_scalar = model.config.head_dim
            for layer in model.model.layers:
                layer.self_attn.scaling = model.config.head_dim**-0.5
        writer = gguf.GGUFWriter(str(path), family)
        head = write_settings(writer, model.config, family)
        write_tokenizer(writer, tokenizer, family)
        if family == "llama":
            writer.add_tensor("rope_freqs.weight", rope_divisors(model.config, head))
        state = model.state_dict()
        for tensor_name, tensor in state.items():
            if tensor_name == "lm_head.weight" and model.config.tie_word_embeddings:
                continue
            weight = tensor.numpy().astype(np.float32)
            heads = {"q": model.config.num_attention_heads, "k": model.config.num_key_value_heads}
            heads = heads.get(tensor_name[-len("q_proj.weight")], None) if "self_attn" in tensor_name else None
            turned = family == "llama" and heads and "_proj" in tensor_name
            if turned:
                weight = side_by_side(weight, heads)
            if family == "gemma3" and tensor_name.endswith("norm.weight"):
                weight = weight + 1
            stored = Type.F32 if weight.ndim == 1 else kind if weight.shape[1] % 32 == 0 or kind == Type.BF16 else Type.F16
            data = gguf.quantize(weight, stored)
            writer.add_tensor(stored_name(tensor_name, family), data, raw_dtype=stored)
            weight = gguf.dequantize(data, stored)
            if turned:
                weight = back(weight, heads)
            if family == "gemma3" and tensor_name.endswith("norm.weight"):
                weight = weight - 1
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(weight.reshape(tensor.shape))))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

        read = AutoTokenizer.from_pretrained(out, gguf_file=path.name)
        expected = {"texts": [], "rows": []}
        for text in TEXTS:
            ids = read(text)["input_ids"]
            assert ids == tokenizer(text)["input_ids"] or family == "gemma3", (name, text)
            expected["texts"].append({"text": text, "ids": ids})
        torch.manual_seed(5)
        for length in (5, 60):
            ids = torch.randint(3, model.config.vocab_size, (length,)).tolist()
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, :-1]
            logps = torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
            text = model.generate(
                torch.tensor([ids]), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0)
            logps = [float(f"{value:.8g}") for value in logps]
            expected["rows"].append({"ids": ids, "logps": logps, "greedy": text[0, length:].tolist()})
        (out / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, separators=(",", ":")) + "\n")
        print(name, path.stat().st_size)


main()
