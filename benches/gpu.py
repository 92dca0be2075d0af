"""GPU benchmark, run by benches/gpu.sh: CPU and GPU embeddings compared, then speed.

Writes one JSON file; exits with 1 on a disagreement.
"""
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import pyarrow.parquet
import torch

# The shape of jina-embeddings-v3 (its config.json); the weights are random.
SHAPE = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "vocab_size": 250002, "max_position_embeddings": 8194, "type_vocab_size": 1, "layer_norm_eps": 1e-5,
    "hidden_act": "gelu", "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "model_type": "xlm-roberta",
}
MAX_TOKENS = 8192
ROUNDS = 3


def embed(binary, file, model, device, out):
    said = subprocess.run(
        [binary, "embed", str(file), "--column", "text", "--model", str(model), "--device", device, "--out", str(out)],
        check=True, capture_output=True, text=True).stderr
    texts, tokens, rate = re.search(r"embedded (\d+) texts with .*: (\d+) tokens, (\d+) a second", said).groups()
    column = pyarrow.parquet.read_table(out)["embedding"].combine_chunks()
    vectors = numpy.asarray(column.flatten()).reshape(len(column), -1)
    return vectors, int(tokens), int(rate), said


def cosines(a, b):
    norms = numpy.linalg.norm(a, axis=1) * numpy.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / norms


def twins(binary, fixtures, folder):
    """Cosine of every text's expected embedding (f32) and its GPU embedding, by small model and number type."""
    results = {}
    for model in sorted(path for path in fixtures.iterdir() if path.is_dir()):
        rows = json.loads((model / "expected.json").read_text()).get("rows")
        if not rows or "unit" not in rows[0]:
            continue
        file = folder / f"{model.name}.jsonl"
        file.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
        expected = numpy.array([row["unit"] for row in rows])
        for kind, enough in [("bf16", 0.999), ("f16", 0.999), ("f32", 0.99999)]:
            out = folder / f"{model.name}-{kind}.parquet"
            there, _, _, _ = embed(binary, file, model / "model", f"cuda:0:{kind}", out)
            least = float(cosines(there, expected).min())
            results[f"{model.name} {kind}"] = {"least_cosine": least, "agrees": least >= enough}
    return results


def write_model(folder, tokenizer, rotary):
    """Writes a model of jina-v3's shape with random weights: with rotary positions for polyphony, or with the
    absolute positions of XLM-RoBERTa for the peer, which has the same matrix products."""
    from safetensors.torch import save_file
    from tokenizers import Tokenizer

    (folder / "1_Pooling").mkdir(parents=True)
    config = dict(SHAPE, architectures=["XLMRobertaModel"])
    if rotary:
        config |= {"position_embedding_type": "rotary", "rotary_emb_base": 20000.0}
    (folder / "config.json").write_text(json.dumps(config))
    kinds = ["Transformer", "Pooling", "Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
               for i, (kind, path) in enumerate(zip(kinds, paths))]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "2_Normalize").mkdir()
    pooling = {"word_embedding_dimension": SHAPE["hidden_size"], "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": MAX_TOKENS}))
    loaded = Tokenizer.from_file(str(tokenizer))
    loaded.no_truncation()
    loaded.no_padding()
    loaded.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "model_max_length": MAX_TOKENS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    generator = torch.Generator().manual_seed(7)
    width, inner = SHAPE["hidden_size"], SHAPE["intermediate_size"]
    weights = {}

    def put(name, *shape):
        weights[name] = (torch.randn(*shape, generator=generator) * 0.02).to(torch.bfloat16)

    def norm(name):
        weights[f"{name}.weight"] = torch.ones(width, dtype=torch.bfloat16)
        weights[f"{name}.bias"] = torch.zeros(width, dtype=torch.bfloat16)

    if rotary:
        plain = "parametrizations.weight.original"
        put(f"roberta.embeddings.word_embeddings.{plain}", SHAPE["vocab_size"], width)
        put(f"roberta.embeddings.token_type_embeddings.{plain}", 1, width)
        norm("roberta.emb_ln")
        for layer in range(SHAPE["num_hidden_layers"]):
            name = f"roberta.encoder.layers.{layer}"
            for part, out, into in [("mixer.Wqkv", 3 * width, width), ("mixer.out_proj", width, width),
                                    ("mlp.fc1", inner, width), ("mlp.fc2", width, inner)]:
                put(f"{name}.{part}.{plain}", out, into)
                put(f"{name}.{part}.bias", out)
            norm(f"{name}.norm1")
            norm(f"{name}.norm2")
    else:
        put("embeddings.word_embeddings.weight", SHAPE["vocab_size"], width)
        put("embeddings.position_embeddings.weight", SHAPE["max_position_embeddings"], width)
        put("embeddings.token_type_embeddings.weight", 1, width)
        norm("embeddings.LayerNorm")
        for layer in range(SHAPE["num_hidden_layers"]):
            name = f"encoder.layer.{layer}"
            for part, out, into in [("attention.self.query", width, width), ("attention.self.key", width, width),
                                    ("attention.self.value", width, width), ("attention.output.dense", width, width),
                                    ("intermediate.dense", inner, width), ("output.dense", width, inner)]:
                put(f"{name}.{part}.weight", out, into)
                put(f"{name}.{part}.bias", out)
            norm(f"{name}.attention.output.LayerNorm")
            norm(f"{name}.output.LayerNorm")
    save_file(weights, folder / "model.safetensors")


def matmul_peak():
    """The bf16 throughput of a large matrix product, in TFLOP/s: the best of several measurements."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    best = 0.0
    for _ in range(10):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(10):
            a @ a
        torch.cuda.synchronize()
        best = max(best, 10 * 2 * 8192**3 / (time.perf_counter() - start) / 1e12)
    return best


def speed(binary, stories, tokenizer, folder):
    from sentence_transformers import SentenceTransformer

    texts = [json.loads(line)["text"] for line in stories.read_text().splitlines()]
    # Distinct texts of real lengths, enough to keep the GPU busy.
    texts = [f"{number} {text}" for number in range(max(1, 4000 // len(texts))) for text in texts]
    file = folder / "stories.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    ours, peer = folder / "ours", folder / "peer"
    write_model(ours, tokenizer, rotary=True)
    write_model(peer, tokenizer, rotary=False)
    theirs = SentenceTransformer(str(peer), device="cuda", model_kwargs={
        "dtype": torch.bfloat16, "attn_implementation": "sdpa"})
    tokens = sum(len(ids) for ids in theirs.tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"])
    theirs.encode(texts[:256], batch_size=32)
    rounds = []
    for _ in range(ROUNDS):
        _, ours_tokens, ours_rate, said = embed(binary, file, ours, "cuda:0", folder / "out.parquet")
        best = {}
        for batch in (32, 128):
            torch.cuda.synchronize()
            start = time.perf_counter()
            theirs.encode(texts, batch_size=batch)
            best[batch] = tokens / (time.perf_counter() - start)
        rounds.append({"ours": ours_rate, "peer": max(best.values()), "peer_by_batch": best})
    layers, width, inner = SHAPE["num_hidden_layers"], SHAPE["hidden_size"], SHAPE["intermediate_size"]
    flops = 2 * layers * (4 * width * width + 2 * width * inner)
    rate = statistics.median(entry["ours"] for entry in rounds)
    peak = matmul_peak()
    return {
        "ratio": statistics.median(entry["ours"] / entry["peer"] for entry in rounds),
        "share_of_matmul_peak": rate * flops / 1e12 / peak,
        "matmul_peak_tflops": peak,
        "texts": len(texts), "tokens": ours_tokens, "peer_tokens": tokens, "rounds": rounds,
        "said": said.splitlines(),
    }


def main():
    binary, stories, tokenizer, out, fixtures = sys.argv[1:]
    result = {
        "machine": torch.cuda.get_device_name(0), "torch": torch.__version__, "cuda": torch.version.cuda,
        "date": time.strftime("%Y-%m-%d"),
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        result["twins"] = twins(binary, pathlib.Path(fixtures), folder)
        pathlib.Path(out).write_text(json.dumps(result, indent=1) + "\n")
        result["embed"] = speed(binary, pathlib.Path(stories), pathlib.Path(tokenizer), folder)
    pathlib.Path(out).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0 if all(twin["agrees"] for twin in result["twins"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
