"""Writes tests/fixtures/minilm.json: golden embeddings of sentence-transformers for 50 varied texts.

    python tests/peers/fetch_minilm.py FOLDER
    python tests/peers/minilm_vectors.py FOLDER > tests/fixtures/minilm.json

Needs sentence-transformers (the fixture is from 6.2.0, torch 2.15.0 on the CPU).
"""
import json
import pathlib
import sys

import torch
from sentence_transformers import SentenceTransformer

ODD = [
    "",
    " ",
    "a",
    "The",
    "\n\n  spaced   out \t text \n",
    "UPPER lower MiXeD",
    "Ünïcödé, naïve café, Ångström, smørrebrød",
    "你好，世界。这是一个很短的故事。",
    "これは物語です。終わり。",
    "Привет, мир! Это рассказ.",
    "مرحبا بالعالم",
    "🙂🙃 emoji 👩‍👩‍👧‍👦 family 🏳️‍🌈",
    "“Curly quotes” and ‘single ones’ — with dashes … and dots",
    "code: fn main() { println!(\"{}\", 1 + 1); }",
    "https://example.org/a/very/long/path?with=query&and=more#fragment",
    "1234567890 3.14159 -42 1e-5 0xdeadbeef",
    "!!!???...;;;:::",
    "[CLS] a text that names [SEP] special [MASK] tokens [PAD]",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "x" * 300,
    "word " * 254,
    "word " * 255,
    "word " * 1000,
    "A zero\u200bwidth space, a soft\u00adhyphen, a\u00a0hard one, a tab\tand a null\u0000.",
    "e\u0301 and é are the same letter, written twice.",
    "Line one.\r\nLine two.\rLine three.\nLine four.",
    "&amp; &lt;b&gt;entities&lt;/b&gt; &#x27;stay&#x27;",
]


def main():
    data = pathlib.Path(__file__).parents[2] / "data"
    stories = []
    for file in sorted(data.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row.get("body"):
                stories.append(row["body"])
    texts = ODD + stories[: 50 - len(ODD)]
    model = SentenceTransformer(sys.argv[1], device="cpu")
    torch.set_num_threads(1)
    vectors = model.encode(texts, batch_size=1)
    rows = [
        {"text": text, "unit": [float(f"{value:.7g}") for value in vector.tolist()]}
        for text, vector in zip(texts, vectors)
    ]
    json.dump({"rows": rows}, sys.stdout, ensure_ascii=True, separators=(",", ":"))


main()
