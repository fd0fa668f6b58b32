"""Tensors and JSON metadata in safetensors files, which cannot run code."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from lindiff import _check

torch = _check.optional("torch", "deep")


def read(path):
    """Return the tensors (a dict, on the CPU) and the metadata (a dict of JSON texts) of a file."""
    safetensors = _check.optional("safetensors", "deep")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            texts = file.metadata() or {}
        # The files that come with the package are older than the digest and have none.
        stored = texts.pop("sha256", None)
        if stored not in (None, json.dumps(_digest(tensors, texts))):
            raise ValueError("its content has another SHA-256 than was stored with it")
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file ({error}); "
            "delete it, or replace it by a good copy"
        ) from error
    return tensors, texts


def write(path, tensors, metadata):
    """Write tensors and JSON values; a reader sees the old file or the new one, never a half."""
    save = _check.optional("safetensors.torch", "deep").save
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    texts = {key: text(key, value) for key, value in metadata.items()}
    texts["sha256"] = json.dumps(_digest(tensors, texts))
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as scratch:
        temporary = Path(scratch) / path.name
        with temporary.open("wb") as file:
            file.write(save(tensors, texts))
            file.flush()
            os.fsync(file.fileno())  # or a loss of power may leave a file of zeros
        os.replace(temporary, path)


def text(name, value):
    """Return a value as JSON, arrays and numbers of NumPy and torch as lists and numbers."""
    try:
        return json.dumps(value, sort_keys=True, default=lambda array: array.tolist())
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is {value!r:.80}; expected what JSON can hold, such as numbers, strings, and "
            "lists and dicts of them"
        ) from error


def target(path):
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


def _digest(tensors, texts):
    """SHA-256 of all that a file holds."""
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for key, value in sorted(tensors.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
