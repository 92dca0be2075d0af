"""Creates a Python environment with the packages of the peer tests in a folder; exits with 1 on failure.

A complete environment is reused.
"""
import pathlib
import subprocess
import sys
import venv

PACKAGES = ["datasets==5.2.0", "trl==1.16.0", "transformers==5.23.0", "torch==2.15.0", "peft==0.21.2", "tokenizers==0.23.3"]


def main():
    folder = pathlib.Path(sys.argv[1])
    done = folder / "complete.txt"
    if done.is_file() and done.read_text() == "\n".join(PACKAGES):
        return 0
    venv.create(folder, with_pip=True, clear=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--prefer-binary", *PACKAGES]
    if subprocess.run(install).returncode != 0:
        return 1
    done.write_text("\n".join(PACKAGES))
    return 0


sys.exit(main())
