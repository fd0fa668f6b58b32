"""Many runs of one simulation, each with a random stream of its own."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from lindiff import _check

Cell = TypeVar("Cell")
Result = TypeVar("Result")


def sweep(
    function: Callable[[Cell, np.random.Generator], Result],
    cells: Sequence[Cell],
    *,
    seed: int,
    n_jobs: int | None = None,
) -> list[Result]:
    """Run a simulation on every cell of a design, each with its own random stream.

    The streams are spawned from `seed` by position, so the numbers do not depend on how many
    workers there are or where they run; ``joblib.parallel_config(backend="dask")`` moves the
    sweep to a Dask cluster. A progress bar appears on a terminal only.

    Parameters
    ----------
    function : callable
        ``function(cell, rng)``.
    cells : sequence
        One argument per run, of any type.
    seed : int
        Root of all random streams.
    n_jobs : int, optional
        Number of worker processes; by default what joblib's configuration says, else one.

    Returns
    -------
    list
        The results, in the order of `cells`.

    Examples
    --------
    >>> sweep(lambda cell, rng: cell * int(rng.integers(1, 10)), [1, 10, 100], seed=0)
    [8, 60, 600]
    """
    joblib, tqdm = (_check.optional(name, "sweep") for name in ("joblib", "tqdm"))
    cells = list(cells)
    streams = np.random.SeedSequence(_check.integer("seed", seed, 0)).spawn(len(cells))
    jobs = (
        joblib.delayed(function)(cell, np.random.default_rng(stream))
        for cell, stream in zip(cells, streams, strict=True)
    )
    bar = tqdm.tqdm(jobs, total=len(cells), disable=None, leave=False)
    return joblib.Parallel(n_jobs=n_jobs)(bar)
