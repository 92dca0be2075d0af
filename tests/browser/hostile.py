"""Writes model outputs whose texts are HTML injections: `python3 tests/browser/hostile.py FILE.jsonl`."""
import json
import pathlib
import sys

STORIES = [
    "<script>window.hacked = 1</script>A story.",
    "<img src=x onerror='window.hacked = 2'> Another story, <b>bold</b>.",
    "</script><script>window.hacked = 3</script>&lt;script&gt;",
    "\"><svg onload=alert(1)> <a href='javascript:window.hacked = 4'>click</a> \u2028\u202e",
    "<iframe srcdoc='<script>parent.hacked = 5</script>'></iframe> {{ 7 * 7 }} {% raw %}",
    "<style>* { display: none }</style><meta http-equiv=refresh content='0;url=https://example.org/'>",
]


def main():
    rows = []
    for model in ("<script>window.hacked = 6</script>", "plain \"quoted\" & <i>model</i>"):
        for prompt in range(6):
            for sample in range(3):
                rows.append({
                    "model": model, "prompt_id": f"<b>{prompt}</b>", "prompt": f"</title><script>window.hacked = 7</script> {prompt}",
                    "sample": sample, "response": STORIES[(prompt + sample + len(model)) % len(STORIES)] + f" {prompt} {sample}",
                    "score": (prompt * 3 + sample + len(model)) % 7,
                })
    pathlib.Path(sys.argv[1]).write_text("".join(json.dumps(row) + "\n" for row in rows))


main()
