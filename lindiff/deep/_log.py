"""Measurements half done: on disc after each, so that an interrupted call goes on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lindiff import _check, _files
from lindiff.deep.records import Callback, Measurements, Trajectory, _write, write_trajectory


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array, its type and its shape."""
    head = f"{array.dtype} {array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def _state(generator: np.random.Generator) -> Any:
    """State of a generator as JSON values."""
    text = json.dumps(generator.bit_generator.state, default=lambda array: array.tolist())
    return json.loads(text)


class Log:
    """Rows measured so far, on disc too if asked for, so that an interrupted call goes on.

    Parameters
    ----------
    save : str, Path or None
        Where the result shall go; until it is complete ``<save>.partial`` has the rows.
    settings : dict of JSON values
        What tells this call from others.
    generators : sequence of numpy.random.Generator
        All that the call draws from, in the state of its beginning. A call that resumes gets
        them in this state from the file, but for the last, which is that after the last row.
    seeded : bool
        Whether the caller chose them, so that they tell this call from others.
    callback : callable, optional
    """

    def __init__(
        self,
        save: str | Path | None,
        settings: Mapping[str, Any],
        generators: list[np.random.Generator],
        seeded: bool,
        callback: Callback | None,
    ) -> None:
        if callback is not None and not callable(callback):
            raise ValueError(f"callback is {_check.brief(callback)}; expected a function")
        self.rows: list[Measurements] = []
        self.ahead = 0  # stored rows that this call has not come to yet
        self._callback, self._generators = callback, generators
        self._path = None if save is None else _files.target(save)
        self._partial = None if save is None else _files.target(f"{save}.partial")
        self._start = [_state(generator) for generator in generators]
        draws = hashlib.sha256(json.dumps(self._start).encode()).hexdigest() if seeded else None
        self._settings = {**settings, "rng": draws}
        if self._partial is not None and self._partial.exists():
            self._resume(self._partial)

    def _resume(self, partial: Path) -> None:
        """Bring back rows and generators that an interrupted call left."""
        advice = "delete it to start again"
        arrays = _files.read_arrays(partial, advice)
        if arrays.keys() != {*Measurements._fields, "settings", "generators"}:
            raise ValueError(f"{partial} is not the state of an unfinished call; {advice}")
        stored = json.loads(str(arrays.pop("settings")))
        for key, value in self._settings.items():
            if stored.get(key) != value:
                raise ValueError(
                    f"{partial} was left by a call with another {key}: {stored.get(key)}; now it "
                    f"is {value}. Repeat that call to resume, or {advice}"
                )
        *self._start, last = json.loads(str(arrays.pop("generators")))
        for generator, state in zip(self._generators, [*self._start[:-1], last], strict=True):
            generator.bit_generator.state = state
        columns = [arrays[name] for name in Measurements._fields]
        self.rows = [Measurements(*row) for row in zip(*columns, strict=True)]
        self.ahead = len(self.rows)

    def check(self, state: np.ndarray, denoised: np.ndarray) -> None:
        """Raise ValueError if the last stored row belongs to another state or denoiser."""
        row = self.rows[-1]
        for ours, theirs in ((state, row.states), (denoised, row.denoised)):
            if not np.linalg.norm(ours - theirs) <= 1e-3 * np.linalg.norm(theirs):
                raise ValueError(
                    f"{self._partial} was left by a call with another denoiser; "
                    "repeat that call to resume, or delete it to start again"
                )

    def add(self, row: Measurements) -> None:
        """Take a new row, store it, and show it to the callback."""
        self.rows.append(row)
        if self._partial is not None:
            states = [*self._start, _state(self._generators[-1])]
            known = {"settings": json.dumps(self._settings), "generators": json.dumps(states)}
            _write(self._partial, {**self.measurements()._asdict(), **known})
        if self._callback is not None:
            self._callback(self.measurements())

    def measurements(self) -> Measurements:
        """All rows so far as arrays."""
        return Measurements._make(map(np.array, zip(*self.rows, strict=True)))

    def close(self, result: Trajectory | Measurements) -> None:
        """Store the whole result in place of its parts."""
        if self._path is not None and self._partial is not None:
            write_trajectory(self._path, result)
            self._partial.unlink(missing_ok=True)
