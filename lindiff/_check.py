"""Checks of arguments: every message gives the name, the value and what was expected."""

import importlib
import math
import warnings
from collections.abc import Iterable
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from lindiff.types import Rng

T = TypeVar("T")


def brief(value: object) -> str:
    """Text of a value for a message: of an array, and of what is long, the type and the shape."""
    if shape := tuple(getattr(value, "shape", ())):
        return f"of type {type(value).__name__} and shape {shape}"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"of type {type(value).__name__}"


def real(name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = float) -> np.ndarray:
    """Return `value` as a NumPy array of real numbers, or raise ValueError."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries; expected an array without a mask")
    try:
        out = np.asarray(value)
        if out.dtype.kind == "c":  # NumPy would only warn that it drops a part
            raise TypeError("they are complex; expected real ones")
        return out.astype(dtype, copy=False)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor with gradient
        raise ValueError(f"{name} is not an array of numbers ({error})") from None


def array(name: str, value: npt.ArrayLike, ndim: int, dtype: npt.DTypeLike = float) -> np.ndarray:
    """Return `value` as a finite NumPy array with `ndim` dimensions, or raise ValueError."""
    out = real(name, value, dtype)
    if out.ndim != ndim:
        raise ValueError(f"{name} has shape {out.shape}; expected {ndim} dimension(s)")
    if not np.isfinite(out).all():
        bad = np.argwhere(~np.isfinite(out))[0]
        raise ValueError(
            f"{name} is {out[tuple(bad)]} at index {bad.tolist()}; expected finite values"
        )
    return out


def centred(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the rows of `x`, and the rows less their mean.

    The first row is taken off before the mean is: a constant column is then exactly zero, and
    nothing is lost where the mean is large against the spread.
    """
    apart = x - x[0]
    shift = apart.mean(axis=0)
    mean = x[0] + shift
    apart -= shift  # in place: large data are not copied twice
    return mean, apart


def holds(condition: object) -> bool:
    """Whether a condition on values holds; true where values cannot be known (torch.func.vmap)."""
    try:
        return bool(condition)
    except RuntimeError:  # what torch raises there; a check must not stop a transformation
        return True


def integer(name: str, value: Any, low: int, high: float = math.inf) -> int:
    """Return `value` as an int between `low` and `high` (both included), or raise ValueError."""
    try:
        out = int(value)
        fits = out == value and low <= out <= high
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        upper = "" if high == math.inf else f" and at most {high}"
        raise ValueError(f"{name} is {brief(value)}; expected an integer of at least {low}{upper}")
    return out


def number(name: str, value: Any, low: float, *, open_low: bool = False) -> float:
    """Return `value` as a finite float of at least (or, if `open_low`, above) `low`."""
    try:
        out = float(value)
    except (TypeError, ValueError):
        out = math.nan
    if not math.isfinite(out) or out < low or (open_low and out == low):
        shown = value if isinstance(value, str) else brief(value)  # "5" is a number: no quotes
        raise ValueError(
            f"{name} is {shown}; expected a finite number {'>' if open_low else '>='} {low}"
        )
    return out


def generator(rng: Rng) -> np.random.Generator:
    """Return a NumPy random generator: `rng` itself, one seeded by an int, or an unseeded one."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        return np.random.default_rng()
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0:
        return np.random.default_rng(rng)
    raise ValueError(
        f"rng is {brief(rng)}; expected a numpy.random.Generator, a seed (an int >= 0), or None"
    )


def kind(name: str, value: object, expected: type[T]) -> T:
    """Return `value`, or raise ValueError unless it is of the class `expected`."""
    if not isinstance(value, expected):
        raise ValueError(f"{name} is {brief(value)}; expected a {expected.__name__}")
    return value


def eigenvalues(name: str, value: npt.ArrayLike) -> np.ndarray:
    """Return `value` as a vector of non-negative, descending numbers, or raise ValueError."""
    out = array(name, value, 1)
    if out.size and out.min() < 0:
        raise ValueError(f"{name} contains {out.min()}; expected non-negative eigenvalues")
    if (np.diff(out) > 0).any():
        at = int(np.argmax(np.diff(out) > 0))
        raise ValueError(f"{name} rises from {out[at]} to {out[at + 1]}; expected descending order")
    return out


def sigmas(value: npt.ArrayLike) -> np.ndarray:
    """Return a schedule: at least two non-negative, strictly decreasing standard deviations."""
    out = array("sigmas", value, 1)
    if out.size < 2:
        raise ValueError(f"sigmas has {out.size} entries; expected at least two levels")
    if (np.diff(out) >= 0).any():
        at = int(np.argmax(np.diff(out) >= 0))
        raise ValueError(
            f"sigmas goes from {out[at]} to {out[at + 1]} at index {at}; "
            "expected strictly decreasing levels, from noise to data"
        )
    if out[-1] < 0:
        raise ValueError(f"sigmas ends at {out[-1]}; expected standard deviations >= 0")
    return out


def same_shape(name: str, value: Iterable[int], expected: Iterable[int]) -> None:
    """Raise ValueError unless the two shapes agree."""
    if tuple(value) != tuple(expected):
        raise ValueError(f"{name} has shape {tuple(value)}; expected {tuple(expected)}")


def orthonormal(name: str, rows: np.ndarray) -> np.ndarray:
    """Return `rows`, shape (..., k, d), or raise ValueError unless they are orthonormal."""
    error = np.abs(rows @ rows.swapaxes(-1, -2) - np.eye(rows.shape[-2])).max(initial=0.0)
    if not error <= 1e-6:
        raise ValueError(f"rows of {name} are orthonormal up to {error:.1e}; expected at most 1e-6")
    return rows


def optional(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say how to get it or why it does not load."""
    package = module.split(".")[0]
    try:
        with warnings.catch_warnings():
            # several load a progress bar that complains, in notebooks, of missing widgets
            warnings.filterwarnings("ignore", message="IProgress not found")
            importlib.import_module(package)
            return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            message = f"this needs the package {package}: pip install 'lindiff[{extra}]'"
        else:
            message = f"{package} is installed, but {module} cannot be imported: {error}"
        raise ImportError(message) from error
