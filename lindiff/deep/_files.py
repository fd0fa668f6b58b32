"""Tensors and JSON metadata in safetensors files, which cannot run code."""

import json
import os
import tempfile
from pathlib import Path

from lindiff import _check


def read(path):
    """Return the tensors (a dict, on the CPU) and the metadata (a dict of JSON texts) of a file."""
    safetensors = _check.optional("safetensors", "deep")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file ({error}); "
            "delete it, or replace it by a good copy"
        ) from error


def write(path, tensors, metadata):
    """Write tensors and JSON values; a reader sees the old file or the new one, never a half."""
    save = _check.optional("safetensors.torch", "deep").save
    content = save(
        {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
        {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()},
    )
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as scratch:
        temporary = Path(scratch) / path.name
        temporary.write_bytes(content)
        os.replace(temporary, path)
