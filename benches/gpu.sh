#!/usr/bin/env bash
# All that only a GPU can show, in one run: the CUDA twins of the tests, then speed beside the peer.
#
#     benches/gpu.sh BINARY STORIES TOKENIZER OUT.json
#
# BINARY is what benches/cuda_build.sh made, STORIES a file of JSON lines with `text`, TOKENIZER a
# tokenizer.json that gives real lengths (all-MiniLM-L6-v2's). The machine has Python with torch and
# sentence-transformers (and peft, trl for the comparison of training), and no need of Rust. Ends with 1 when a twin disagrees.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "$1")
# The libraries that torch brings are the ones that the binary needs.
libraries=$(python3 - <<'PYTHON'
import pathlib, site, sys
folders = [pathlib.Path(p) for p in site.getsitepackages() + sys.path if p]
found = {str(f.parent) for p in folders for f in p.glob("nvidia/**/lib*.so.*")}
print(":".join(sorted(found)))
PYTHON
)
for folder in /usr/local/cuda/lib64 /usr/local/cuda/targets/x86_64-linux/lib; do
    [ -d "$folder" ] && libraries=$libraries:$folder
done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# One part that fails keeps no other from being told.
failed=0
python3 "$here/gpu.py" "$binary" "$2" "$3" "$4" "$here/../tests/fixtures/models" || failed=1
python3 "$here/gpu_train.py" "$binary" "$2" "$3" "$4" "$here/../tests/fixtures/models" || failed=1
exit "$failed"
