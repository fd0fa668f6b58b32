"""Sweeps give the same numbers wherever they run."""

import dask.distributed
import joblib

from lindiff.draws import draw_alignment
from lindiff.sweeps import sweep


def mean_alignment(cell, rng):
    dim, spike = cell
    return float(draw_alignment(dim, 2 * dim, spike, 1.0, 5, rng=rng).squared_cosines.mean())


CELLS = [(100, 1.0), (100, 2.0), (1000, 1.0), (1000, 2.0)]


def test_a_sweep_gives_the_same_numbers_for_any_number_of_workers():
    alone = sweep(mean_alignment, CELLS, seed=3)
    assert alone == sweep(mean_alignment, CELLS, seed=3, n_jobs=2)
    assert alone != sweep(mean_alignment, CELLS, seed=4)
    assert len(set(alone)) == len(CELLS)


def test_a_sweep_runs_on_a_dask_cluster():
    alone = sweep(mean_alignment, CELLS, seed=3)
    with (
        dask.distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        dask.distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        assert sweep(mean_alignment, CELLS, seed=3) == alone
