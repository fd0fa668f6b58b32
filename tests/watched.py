"""Loaded into the kernel of a chapter that is run again: other seeds, and every assertion counted.

`start` gives the random generators that a chapter makes another seed, and lets each assertion
report whether it holds instead of ending its cell, so that one run tells about all of them.
"""

import ast
import json
import sys

import numpy as np

# Seeds are given in chapters; what the package draws from a seed of the caller moves with them.
# The package's own fixed seeds, such as the order of the digits, stay.
MODULES = ("__main__", "lindiff.sweeps", "lindiff._check", "lindiff.deep.training")
PLAIN = {"default_rng": np.random.default_rng, "SeedSequence": np.random.SeedSequence}

shift, cell = 0, 0
held, failed = {}, {}


def start(new_shift):
    """Move all seeds by `new_shift` (0 leaves them as they are) and watch the assertions."""
    global shift
    shift = new_shift
    for name in PLAIN:
        setattr(np.random, name, _moved(PLAIN[name]))
    from IPython import get_ipython

    get_ipython().ast_transformers.append(_Watch())


def begin(number, stored_run=False):
    """Say which cell comes next, and whether it repeats a stored run and so keeps its seeds."""
    global cell
    cell = number
    begin.still = stored_run
    _move_torch()


def _moved(make):
    def made(seed=None, *args, **kwargs):
        caller = sys._getframe(1).f_globals.get("__name__")
        if shift and not begin.still and caller in MODULES and seed is not None:
            if isinstance(seed, int | np.integer):
                seed = [seed, shift]
            elif isinstance(seed, list | tuple):
                seed = [*seed, shift]
        return make(seed, *args, **kwargs)

    return made


def _move_torch():
    """Move torch's seeds, too, once a chapter has loaded it."""
    torch = sys.modules.get("torch")
    if torch is None or hasattr(torch, "moved_by_lindiff"):
        return
    torch.moved_by_lindiff = True
    plain, generator = torch.manual_seed, torch.Generator

    def moved(seed):
        return seed if begin.still else seed + 1_000_003 * shift

    class Moved(generator):
        def manual_seed(self, seed):
            return super().manual_seed(moved(seed))

    torch.manual_seed = lambda seed: plain(moved(seed))
    torch.Generator = Moved


class _Watch(ast.NodeTransformer):
    """Turn `assert test, message` into a report of where it stands and whether it holds."""

    def visit_Assert(self, node):
        place = f"cell {cell} line {node.lineno}"
        lines = (
            f"try:\n    pass\nexcept AssertionError as _error:\n"
            f"    __import__('watched').report({place!r}, _error)\n"
            f"else:\n    __import__('watched').report({place!r}, None)"
        )
        tried = ast.parse(lines).body[0]
        tried.body = [node]
        for part in ast.walk(tried):
            if "lineno" in part._attributes:
                ast.copy_location(part, node)
        return tried


def report(place, error):
    """Note that the assertion at `place` held or failed."""
    held[place] = held.get(place, 0) + (error is None)
    if error is not None:
        failed.setdefault(place, str(error))


def summary():
    """Return what was noted, as text that the tool reads back."""
    return json.dumps({"held": held, "failed": failed})
