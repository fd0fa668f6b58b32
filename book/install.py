"""Create the folder .venv with everything that the book needs, or say first why that cannot work.

    python book/install.py          the versions that requirements.txt pins
    python book/install.py --cpu    the same, with PyTorch's CPU build (Linux: 2 GB instead of 8)

It needs nothing but Python. What is known to fail is named before anything is installed: a Python
that the pins do not support, a disk without room, a package that has no ready-made wheel here.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
OLDEST, NEWEST = (3, 11), (3, 14)  # for which every pin has a wheel
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SMALL, LARGE = 4, 12  # GB: twice .venv itself, since pip unpacks beside it


def needed_space(cpu):
    """Return how many GB the installation may need: only Linux gets CUDA with PyTorch."""
    cuda = platform.system() == "Linux" and platform.machine() == "x86_64" and not cpu
    return LARGE if cuda else SMALL


def obstacles(version, free, need):
    """Yield a sentence for each reason why the installation would fail; sizes in GB."""
    if not OLDEST <= version[:2] <= NEWEST:
        found, low, high = (".".join(map(str, v[:2])) for v in (version, OLDEST, NEWEST))
        yield (
            f"this is Python {found}; the pinned versions exist for {low} to {high}. "
            "Name another one: make book PYTHON=python3.12"
        )
    if free < need:
        less = f", or {SMALL} with PyTorch's CPU build: TORCH=cpu" if need > SMALL else ""
        yield f"the disk of {ROOT} has {free:.1f} GB left; expected {need} GB{less}"


def install(cpu):
    """Create the environment and install the pins; return the exit status."""
    venv.create(FOLDER, with_pip=True)
    scripts = FOLDER / ("Scripts" if os.name == "nt" else "bin")
    # a source package would ask for a compiler, half-way through
    options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    options += ["--extra-index-url", CPU_INDEX] * cpu
    command = [scripts / "python", "-m", "pip", "install", *options, "-r", "requirements.txt"]
    print("Installing into .venv; this takes some minutes.", flush=True)
    return subprocess.run(list(map(str, command)), cwd=ROOT).returncode


def main(arguments=None):
    """Install; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="PyTorch's CPU build from its own index")
    cpu = parser.parse_args(arguments).cpu
    there = any(FOLDER.glob("**/torch/version.py"))  # an update needs little room
    need = 1 if there else needed_space(cpu)
    faults = [*obstacles(sys.version_info, shutil.disk_usage(ROOT).free / 1e9, need)]
    for fault in faults:
        print(f"Cannot install: {fault}.", file=sys.stderr)
    if faults:
        return 2
    status = install(cpu)
    if status:
        print(
            "The installation failed; only .venv was touched. If pip says 'No matching "
            "distribution' above, that package has no wheel for this machine. Otherwise try again.",
            file=sys.stderr,
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
