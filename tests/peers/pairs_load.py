"""Peer test: pairs.parquet loads in `datasets` without conversion, and TRL's DPOTrainer trains on it.

The model is a Llama with a few thousand random weights and a byte-level tokenizer, trained for one epoch.
"""
import sys
import tempfile

import torch
from datasets import load_dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

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
    pairs = load_dataset("parquet", data_files=sys.argv[1], split="train")
    assert len(pairs) > 0
    row = pairs[0]
    assert [m["role"] for m in row["prompt"]] == ["user"], row["prompt"]
    for side in ("chosen", "rejected"):
        assert [m["role"] for m in row[side]] == ["assistant"], row[side]
        assert row[side][0]["content"].strip()
    assert all(weight >= 0.0 for weight in pairs["weight"])
    torch.manual_seed(0)
    fast = tokenizer()
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = DPOConfig(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=8, max_length=256,
            report_to=[], use_cpu=True, bf16=False,
        )
        # The trainer loads its reference model from the path that the model was loaded from.
        LlamaForCausalLM(config).save_pretrained(folder)
        fast.save_pretrained(folder)
        trainer = DPOTrainer(model=folder, args=arguments, train_dataset=pairs, processing_class=fast)
        loss = trainer.train().training_loss
    assert loss == loss and loss > 0.0, loss
    print(f"datasets read {len(pairs)} pairs, TRL's DPOTrainer trained for an epoch, loss {loss:.4f}")


main()
