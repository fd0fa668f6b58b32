"""How much memory products with a Jacobian need, read off torch's graphs once they are built.

For each vector a backward pass holds the cotangents for which some part of the graph still waits.
Their sizes, and the order in which torch takes the parts, are known without running it.
"""

import heapq
import math
from collections.abc import Iterable, Iterator, Set
from typing import Any, NamedTuple

from torch import Tensor


class Memory(NamedTuple):
    """Bytes that products with a Jacobian need; ``Jacobian.memory`` counts them.

    Attributes
    ----------
    graph : int
        What is kept for products with the transpose, from the start.
    adjoint : int
        What is kept for products with both, after the first product with J: `graph` included.
    vector : int
        What each vector of a chunk needs besides, while a product is computed.
    """

    graph: int
    adjoint: int
    vector: int


def nodes(out: Tensor) -> Iterator[Any]:
    """Iterate over the nodes of the graph behind `out`."""
    first: Any = out.grad_fn
    seen, ahead = {first}, [first]
    while ahead:
        node = ahead.pop()
        yield node
        new = {after for after, _ in node.next_functions if after is not None} - seen
        seen |= new
        ahead += new


def _saved(node: Any) -> Iterator[Tensor]:
    """Iterate over the tensors that a node keeps for the backward pass."""
    names = ["saved_tensors", *(name for name in dir(node) if name.startswith("_saved_"))]
    for value in (getattr(node, name, None) for name in names):
        for tensor in value if isinstance(value, tuple | list) else [value]:
            if isinstance(tensor, Tensor):
                yield tensor


def kept(outs: Iterable[Tensor], weights: Set[int]) -> int:
    """Bytes that the graphs behind `outs` keep; `weights` are addresses of what does not count."""
    sizes = {}
    for tensor in (t for out in outs for node in nodes(out) for t in _saved(node)):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
    return sum(size for address, size in sizes.items() if address not in weights)


def _useful(out: Tensor, leaf: Tensor) -> set[Any]:
    """Nodes behind `out` on the way to `leaf`, which are those that torch runs."""
    before: dict[Any, list[Any]] = {}
    ends = []
    for node in nodes(out):
        if getattr(node, "variable", None) is leaf:
            ends.append(node)
        for after, _ in node.next_functions:
            before.setdefault(after, []).append(node)
    useful: set[Any] = set()
    while ends:
        node = ends.pop()
        if node not in useful:
            useful.add(node)
            ends += before.get(node, [])
    return useful


def _size(node: Any, slot: int) -> int:
    """Bytes of a cotangent that a node takes."""
    like = node._input_metadata[slot]
    return math.prod(like.shape) * like.dtype.itemsize


def held(out: Tensor, leaf: Tensor) -> int:
    """Bytes of cotangents that a backward pass from `out` to `leaf` holds at most, for one vector.

    Torch runs of all nodes that have what they wait for the one that was made last.
    """
    useful = _useful(out, leaf)
    edges = {node: [(n, slot) for n, slot in node.next_functions if n in useful] for node in useful}
    waiting: dict[Any, int] = {}
    for after in edges.values():
        for node, _ in after:
            waiting[node] = waiting.get(node, 0) + 1
    number = {node: i for i, node in enumerate(useful)}  # decides where the order leaves it open
    first: Any = out.grad_fn
    ready = [(-first._sequence_nr(), number[first], first)]
    now = most = _size(first, out.output_nr)
    holds = {first: {out.output_nr: now}}
    while ready:
        *_, node = heapq.heappop(ready)
        # a node fills what those after it take, and only then lets go of what it took itself
        for after, slot in edges[node]:
            filled = holds.setdefault(after, {})
            now += 0 if slot in filled else _size(after, slot)
            filled[slot] = _size(after, slot)
            waiting[after] -= 1
            if waiting[after] == 0:
                heapq.heappush(ready, (-after._sequence_nr(), number[after], after))
        most = max(most, now)
        now -= sum(holds.pop(node).values())
    return most
