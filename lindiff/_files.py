"""Files that are whole: written atomically, and damage noticed when they are read."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; afterwards it replaces `path`, of which nobody sees a half."""
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as scratch:
        temporary = Path(scratch) / path.name
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())  # or a loss of power may leave a file of zeros
        os.replace(temporary, path)


def target(path: str | Path) -> Path:
    """Return `path` if a file can be written there, or raise ValueError: before the work."""
    path = Path(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            reason = "it is a folder" if path.is_dir() else None
    except OSError as error:
        reason = error.strerror
    if reason:
        raise ValueError(
            f"path is {path}; expected a file in an existing folder that can be written to "
            f"({reason})"
        )
    return path


def read_arrays(
    path: str | Path, advice: str = "delete it to start again"
) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file by name, or raise ValueError if it is damaged."""
    try:
        # opened here, because numpy.load leaves a damaged file open
        with Path(path).open("rb") as file:
            # numpy.load takes what is no archive for a pickle, and advises to trust it
            if file.read(2) != b"PK":
                raise ValueError("no zip archive")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
    except (FileNotFoundError, NotADirectoryError):
        raise
    except Exception as error:  # a damaged archive can raise almost anything
        raise ValueError(f"{path} is damaged ({error}); {advice}") from error
