"""Writes small models with random weights for the tests, and the golden values of transformers for them.

    python tests/peers/small_models.py tests/fixtures

models/tied_llama        tied token embeddings and LM head, weights in several files
models/windowed_mistral  sliding-window attention over eight tokens
models/xlm_roberta       an encoder with a unigram tokenizer and CLS pooling
token_metrics.json        entropy, accuracy and logits of the golden pairs, by llama with its adapter
chats.json               chats rendered by transformers, with chat templates modelled on those of common families
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)

fixtures = Path(sys.argv[1])
torch.manual_seed(20261124)
torch.set_num_threads(1)

TEXTS = [
    "The lighthouse keeper counted ships that never came.",
    "« Attends », dit la vieille, et la mer attendit.",
    "Der Drache schlief; niemand wagte es, ihn zu wecken.",
    "Она открыла письмо, и буквы улетели.",
    "月が落ちた夜、猫だけが笑っていた。",
    "short",
    "",
    "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen.",
]


def tokens_of(model, ids):
    """The log-probabilities of a text's tokens, except the first."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()


def decoder(name, model, shards):
    folder = fixtures / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    model = model.eval()
    model.save_pretrained(folder / "model", max_shard_size=shards)
    rows = []
    for length in (3, 9, 24):
        ids = torch.randint(3, model.config.vocab_size, (length,)).tolist()
        text = model.generate(
            torch.tensor([ids]), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        rows.append({"ids": ids, "logps": tokens_of(model, ids), "greedy": text[0, length:].tolist()})
    (folder / "expected.json").write_text(json.dumps({"rows": rows}) + "\n")


shape = dict(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2,
    num_hidden_layers=2, max_position_embeddings=256, initializer_range=0.3, bos_token_id=1, eos_token_id=2,
)
decoder("tied_llama", LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **shape)), "20KB")
decoder(
    "windowed_mistral",
    MistralForCausalLM(MistralConfig(sliding_window=8, tie_word_embeddings=False, **shape)),
    "5GB",
)


def xlm_roberta():
    folder = fixtures / "models" / "xlm_roberta"
    shutil.rmtree(folder, ignore_errors=True)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    # The vocabulary: every letter, and every second word.
    words = sorted({"▁" + word for text in TEXTS for word in text.split()})
    letters = sorted({letter for word in words for letter in word})
    pieces = [(piece, 0.0) for piece in special]
    pieces += [(letter, -6.0 - place / 100) for place, letter in enumerate(letters)]
    pieces += [(word, -4.0 - place / 100) for place, word in enumerate(words[::2])]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        cls_token="<s>", sep_token="</s>", model_max_length=24,
    )
    model = XLMRobertaModel(
        XLMRobertaConfig(
            vocab_size=len(fast), hidden_size=32, intermediate_size=48, num_attention_heads=4, num_hidden_layers=2,
            max_position_embeddings=26, type_vocab_size=1, initializer_range=0.3, pad_token_id=1, bos_token_id=0,
            eos_token_id=2,
        ),
        add_pooling_layer=False,
    ).eval()
    model.save_pretrained(folder / "model")
    fast.save_pretrained(folder / "model")
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "model" / "modules.json").write_text(json.dumps(modules, indent=1) + "\n")
    (folder / "model" / "sentence_bert_config.json").write_text('{"max_seq_length": 24, "do_lower_case": false}\n')
    (folder / "model" / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "model" / "1_Pooling" / "config.json").write_text(json.dumps(pooling) + "\n")
    rows = []
    for text in TEXTS:
        ids = fast(text, truncation=True, max_length=24, return_tensors="pt")
        with torch.no_grad():
            first = model(**{k: ids[k] for k in ("input_ids", "attention_mask")}).last_hidden_state[0, 0]
        unit = torch.nn.functional.normalize(first, dim=0)
        rows.append({"text": text, "ids": ids["input_ids"][0].tolist(), "unit": unit.tolist()})
    (folder / "expected.json").write_text(json.dumps({"rows": rows}, ensure_ascii=False) + "\n")


xlm_roberta()


def token_metrics():
    """Writes token metrics as TRL defines them: entropy over both responses, accuracy over the chosen ones, mean
    logits over each."""
    folder = fixtures / "models" / "llama"
    expected = json.loads((folder / "expected.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    model = PeftModel.from_pretrained(model, folder / "adapter").eval()
    sums = {side: torch.zeros(4, dtype=torch.float64) for side in ("chosen", "rejected")}
    for pair in expected["pairs"]:
        for side, sum_of in sums.items():
            ids = pair[f"{side}_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, :-1].double()
            logits, targets = logits[pair["prompt_len"] - 1 :], torch.tensor(ids[pair["prompt_len"] :])
            logp = torch.log_softmax(logits, -1)
            sum_of += torch.tensor(
                [
                    len(targets),
                    -(logp.exp() * logp).sum(),
                    (logits.argmax(-1) == targets).sum(),
                    logits.mean(-1).sum(),
                ],
                dtype=torch.float64,
            )
    chosen, rejected = sums["chosen"], sums["rejected"]
    known = {
        "entropy": ((chosen[1] + rejected[1]) / (chosen[0] + rejected[0])).item(),
        "mean_token_accuracy": (chosen[2] / chosen[0]).item(),
        "logits/chosen": (chosen[3] / chosen[0]).item(),
        "logits/rejected": (rejected[3] / rejected[0]).item(),
    }
    (fixtures / "token_metrics.json").write_text(json.dumps(known, indent=1) + "\n")


token_metrics()

# Chat templates written for the tests, with the Jinja features that the templates of model families use.
TEMPLATES = {
    "dated": """{{- bos_token }}
{%- if strftime_now is defined %}
    {%- set today = strftime_now("%d %b %Y") %}
{%- else %}
    {%- set today = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set rules = messages[0]['content']|trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rules = "" %}
    {%- set rest = messages %}
{%- endif %}
{{- "[head:system]\\n\\nToday Date: " + today + "\\n\\n" + rules + "[over]" }}
{%- for message in rest %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '[head:' + message['role'] + ']\\n\\n' + message['content'] | trim + '[over]' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[head:assistant]\\n\\n' }}
{%- endif %}
""",
    "alternating": """{%- if messages[0]["role"] == "system" %}
    {%- set rules = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("user and assistant must take turns") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and rules is defined %}
            {{- "[U] " + rules + "\\n\\n" + message["content"] + "[/U]" }}
        {%- else %}
            {{- "[U] " + message["content"] + "[/U]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- endif %}
{%- endfor %}
""",
    "turned": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('user and assistant must take turns') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '[turn]' + role + '
' + message['content'] | trim + '[end]
' }}{% endfor %}{% if add_generation_prompt %}{{'[turn]model
'}}{% endif %}""",
    "methods": """{%- for message in messages -%}
{%- set said = message.content.strip().split('</think>')[-1].lstrip('\\n') -%}
{{ '<' ~ message.role.upper() ~ '>' ~ said ~ ('' if loop.last and not add_generation_prompt else '\\n') }}
{%- if message.content.startswith('x') or message.content.endswith('?') %} (asks){% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}<ASSISTANT>{% endif -%}
""",
}
CHATS = [
    [{"role": "user", "content": "  Write of rain. "}],
    [{"role": "user", "content": "One?"}, {"role": "assistant", "content": " Two.\n"}],
    [
        {"role": "system", "content": " Be brief. "},
        {"role": "user", "content": "x <b> & \"quoted\" 雪"},
        {"role": "assistant", "content": "<think>so</think>\n\nYes."},
        {"role": "user", "content": "More."},
    ],
    [{"role": "assistant", "content": "I begin."}],
]


def chats():
    from datetime import datetime

    from jinja2.exceptions import TemplateError

    tokenizer = AutoTokenizer.from_pretrained(fixtures / "models" / "llama" / "model")
    rows = []
    for name, template in TEMPLATES.items():
        for messages in CHATS:
            for begins in (False, True):
                try:
                    text = tokenizer.apply_chat_template(
                        messages, chat_template=template, add_generation_prompt=begins, tokenize=False
                    ).replace(datetime.now().strftime("%d %b %Y"), "26 Jul 2024")
                except TemplateError:
                    text = None
                rows.append({"template": name, "messages": messages, "begins": begins, "text": text})
    cases = {"templates": TEMPLATES, "rows": rows}
    (fixtures / "chats.json").write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")


chats()
