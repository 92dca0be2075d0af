"""Peer test: the file of `pairs --sft` loads in `datasets` without conversion, and TRL's SFTTrainer trains on it.

    sft_loads.py SFT.parquet PAIRS.parquet

Every story of the pairs is among the examples. The model is a Llama with a few thousand random weights and a
byte-level tokenizer, trained for a few steps.
"""
import sys
import tempfile

import torch
from datasets import load_dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"


def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate(["<pad>", "<eos>", *alphabet])}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=bytes_only, pad_token="<pad>", eos_token="<eos>")
    fast.chat_template = TEMPLATE
    return fast


def main():
    examples, pairs = (load_dataset("parquet", data_files=file, split="train") for file in sys.argv[1:3])
    texts = {(row["prompt"][0]["content"], row["completion"][0]["content"]) for row in examples}
    assert len(texts) == len(examples) > 0
    for row in pairs:
        for side in ("chosen", "rejected"):
            assert (row["prompt"][0]["content"], row[side][0]["content"]) in texts
    row = examples[0]
    assert [m["role"] for m in row["prompt"]] == ["user"], row["prompt"]
    assert [m["role"] for m in row["completion"]] == ["assistant"], row["completion"]
    torch.manual_seed(0)
    fast = tokenizer()
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512,
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder, max_steps=4, per_device_train_batch_size=8, max_length=512, report_to=[],
            use_cpu=True, bf16=False,
        )
        trainer = SFTTrainer(
            model=LlamaForCausalLM(config), args=arguments, train_dataset=examples, processing_class=fast,
        )
        loss = trainer.train().training_loss
    assert loss == loss and loss > 0.0, loss
    print(f"datasets read {len(examples)} examples, TRL's SFTTrainer trained for 4 steps, loss {loss:.4f}")


main()
