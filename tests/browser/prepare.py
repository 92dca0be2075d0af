"""Finds Chromium, or installs Debian's package if possible, and prints its path.

The browser test uses the DevTools protocol directly and needs no Python package. Exits with 77 without a browser.
"""
import os
import shutil
import subprocess
import sys

NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"]


def find():
    """The path of the browser, by $CHROMIUM or by name; None if there is none."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


def install():
    """Installs Debian's package; returns whether that succeeded."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in [["update"], ["install", "--yes", "--no-install-recommends", "chromium"]]:
        command = ["apt-get", "-qq", *arguments]
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode != 0:
            return False
    return True


def main():
    path = find() or (install() and find())
    if not path:
        print("there is no Chromium here, and apt-get cannot install one", file=sys.stderr)
        return 77
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
