"""GPU training benchmark, run by benches/gpu.sh: golden runs on the GPU, then speed compared with TRL.

    python benches/gpu_train.py BINARY STORIES TOKENIZER OUT.json FIXTURES

Adds `train` to OUT.json; exits with 1 when a golden run disagrees.
"""
import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import torch

# The shape of Llama-3.1-8B; the weights are random.
SHAPE = dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
             num_key_value_heads=8, head_dim=128, vocab_size=128256, max_position_embeddings=8192,
             rms_norm_eps=1e-5, rope_theta=500000.0, tie_word_embeddings=False)
RANK, LIMIT, PAIRS, STEPS = 128, 2048, 8, 12
TEMPLATE = ("{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} [SEP]{% endfor %}"
            "{% if add_generation_prompt %}[assistant]{% endif %}")


def flops(lengths, asked):
    """Floating-point operations of a training step, without the reference model: products with frozen weights,
    forward and backward (4 per weight and token), with LoRA weights (6), causal attention (2 products forward,
    5 backward, over half the square), and the LM head at the responses' tokens only."""
    width, inner, layers = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["num_hidden_layers"]
    heads = SHAPE["num_attention_heads"] * SHAPE["head_dim"]
    kv = SHAPE["num_key_value_heads"] * SHAPE["head_dim"]
    frozen = 2 * width * heads + 2 * width * kv + 3 * width * inner
    lora = RANK * (2 * width + heads + kv)
    a_token = layers * (4 * frozen + 6 * lora)
    attention = sum(layers * 7 * heads * n * n for n in lengths)
    return a_token * sum(lengths) + attention + 4 * width * SHAPE["vocab_size"] * asked


def golden(binary, fixtures, folder):
    """Six steps of DDPO and DORPO in f32 and bf16, compared with PyTorch in f32: each loss, each gradient norm,
    and the decrease of the loss, which would be 0 for zero gradients."""
    results = {}
    # Relative tolerances by number type: loss, gradient norm, decrease of the loss.
    kinds = {"f32": (1e-3, 1e-3, 0.02), "bf16": (0.03, 0.05, 0.25)}
    for name, kind in itertools.product(("llama", "mistral"), kinds):
        model = fixtures / name
        expected = json.loads((model / "expected.json").read_text())["curve"]
        for method in ("ddpo", "dorpo"):
            out = folder / f"{name}-{method}-{kind}"
            ran = subprocess.run([
                binary, "train", method, "--model", model / "model", "--adapter", model / "adapter",
                "--reference", "base", "--data", model / "pairs.jsonl", "--max-steps", "6",
                "--batch-size", "8", "--learning-rate", "1e-3", "--weight-decay", "0.01",
                "--lr-scheduler-type", "constant", "--no-shuffle", "--device", f"cuda:0:{kind}", "--out", out])
            if ran.returncode != 0:
                results[f"{name} {method} {kind}"] = {"failed": ran.returncode, "agrees": False}
                continue
            lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
            known = expected[method]["loss_and_grad_norm"]
            off = max(abs(line["loss"] / loss - 1) for line, (loss, _) in zip(lines, known))
            norms = max(abs(line["grad_norm"] / norm - 1) for line, (_, norm) in zip(lines, known))
            fell = (lines[0]["loss"] - lines[-1]["loss"]) / (known[0][0] - known[-1][0])
            of_loss, of_norm, of_fall = kinds[kind]
            results[f"{name} {method} {kind}"] = {
                "largest_distance": off, "largest_distance_of_norms": norms, "fell_as_far": fell,
                "agrees": off <= of_loss and norms <= of_norm and abs(fell - 1) <= of_fall}
    return results


def write_model(folder, tokenizer):
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer), pad_token="[PAD]", eos_token="[SEP]")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(7)
    with torch.device("cuda"):
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, dtype="bfloat16")).to(torch.bfloat16)
    model.save_pretrained(folder)
    del model
    torch.cuda.empty_cache()
    return fast


def write_pairs(file, stories):
    """Writes pairs of real stories, in the order of the file."""
    texts = [json.loads(line)["text"] for line in stories.read_text().splitlines()]
    say = lambda role, text: [{"role": role, "content": text}]
    with file.open("w") as out:
        for number in range(PAIRS * STEPS):
            chosen, rejected = texts[2 * number % len(texts)], texts[(2 * number + 1) % len(texts)]
            row = {"prompt": say("user", f"Write story {number}."), "chosen": say("assistant", chosen),
                   "rejected": say("assistant", rejected), "weight": 1.0}
            out.write(json.dumps(row) + "\n")


class Memory:
    """Context manager that measures the peak memory of the GPU, in GiB."""

    def __enter__(self):
        self.most, self.stop = 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.stop.wait(0.2):
            free, total = torch.cuda.mem_get_info()
            self.most = max(self.most, (total - free) / 2**30)

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def ours(binary, model, pairs, out, more):
    with Memory() as memory:
        subprocess.run([binary, "train", "dpo", "--model", model, "--data", pairs, "--out", out, "--device", "cuda:0",
                        "--lora-r", str(RANK), "--lora-alpha", str(2 * RANK), "--max-length", str(LIMIT),
                        "--overlength", "truncate", "--batch-size", str(PAIRS), "--max-steps", str(STEPS), "--no-shuffle",
                        "--save-steps", "1000", *more], check=True)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rates = [line["tokens_per_second"] for line in lines[2:]]
    return {"tokens_per_second": statistics.median(rates), "peak_gib": memory.most}


def trl(model, pairs, folder, tokens, tuned):
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    settings = dict(per_device_train_batch_size=PAIRS) if tuned is None else tuned
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, attn_implementation="sdpa").cuda()
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    arguments = DPOConfig(output_dir=str(folder), max_steps=STEPS, max_length=LIMIT, report_to=[], bf16=True,
                          save_strategy="no", logging_steps=1000, **settings)
    stamps = []

    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            torch.cuda.synchronize()
            stamps.append(time.perf_counter())

    with Memory() as memory:
        trainer = DPOTrainer(model=loaded, args=arguments, peft_config=config, callbacks=[Clock()],
                             train_dataset=load_dataset("json", data_files=str(pairs), split="train"),
                             processing_class=AutoTokenizer.from_pretrained(model))
        trainer.train()
    seconds = (stamps[-1] - stamps[1]) / (len(stamps) - 2)
    del trainer, loaded
    torch.cuda.empty_cache()
    return {"tokens_per_second": tokens / STEPS / seconds, "peak_gib": memory.most}


def speed(binary, stories, tokenizer, folder, on_result):
    """Speed of polyphony, then of TRL. `on_result` is called with the results so far after each measurement."""
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from gpu import matmul_peak

    model, pairs = folder / "model", folder / "pairs.jsonl"
    fast = write_model(model, tokenizer)
    write_pairs(pairs, stories)
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    length = lambda chat, **more: len(fast.apply_chat_template(chat, return_dict=True, **more)["input_ids"])
    lengths = [min(LIMIT, length(row["prompt"] + row[side])) for row in rows for side in ("chosen", "rejected")]
    starts = [length(row["prompt"], add_generation_prompt=True) for row in rows for _ in range(2)]
    tokens, asked = sum(lengths), sum(lengths) - sum(starts)
    found = {"tokens": tokens, "matmul_peak_tflops": matmul_peak()}
    # Frees the memory of the measurement above, so that it does not count as polyphony's.
    torch.cuda.empty_cache()
    found["ours"] = ours(binary, model, pairs, folder / "ours", [])
    a_token = flops(lengths, asked) / tokens
    found["ours"]["share_of_matmul_peak"] = (
        found["ours"]["tokens_per_second"] * a_token / 1e12 / found["matmul_peak_tflops"])
    on_result(found)
    for name, settings in [
        ("trl_defaults", None),
        ("trl_no_checkpointing", dict(per_device_train_batch_size=4, gradient_accumulation_steps=2,
                                      gradient_checkpointing=False)),
        ("trl_precomputed", dict(per_device_train_batch_size=4, gradient_accumulation_steps=2,
                                 gradient_checkpointing=False, precompute_ref_log_probs=True)),
    ]:
        try:
            found[name] = trl(model, pairs, folder / name, tokens, settings)
            found[name]["ratio"] = found["ours"]["tokens_per_second"] / found[name]["tokens_per_second"]
        except Exception as error:
            # A peer that is not installed or runs out of memory is reported; the other measurements go on.
            found[name] = {"failed": (str(error).splitlines() or [type(error).__name__])[0]}
            torch.cuda.empty_cache()
        on_result(found)


def main():
    binary, stories, tokenizer, out, fixtures = sys.argv[1:]
    out = pathlib.Path(out)
    result = json.loads(out.read_text()) if out.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        result["train"] = {"golden": golden(binary, pathlib.Path(fixtures), folder)}
        out.write_text(json.dumps(result, indent=1) + "\n")

        def on_result(found):
            result["train"]["speed"] = found
            out.write_text(json.dumps(result, indent=1) + "\n")

        speed(binary, pathlib.Path(stories), pathlib.Path(tokenizer), folder, on_result)
    print(json.dumps(result["train"], indent=1))
    return 0 if all(run["agrees"] for run in result["train"]["golden"].values()) else 1


sys.exit(main())
