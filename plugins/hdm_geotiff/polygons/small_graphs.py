"""Connected components and ways round cycles of small graphs, in a few array operations.

scipy's graph routines check and copy a matrix several times before they begin, which is most of their time in a strip
with few outlines. Here the work grows with the logarithm of the longest way, so large graphs are better left to scipy.
The answers are the same, number by number.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

SMALL = 1 << 12
"""Elements up to which this is faster than scipy."""


def components(one: Ints, other: Ints, count: int) -> Ints:
    """[count] number of each node's component, counted in the order of their smallest nodes.

    Args:
        one, other: [edges] the nodes that an edge joins.
        count: number of nodes.
    """
    root = np.arange(count, dtype=np.int64)
    while True:
        a, b = root[one], root[other]
        apart = a != b
        if not apart.any():
            break
        a, b = a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        root = _settled(root)
    return np.asarray((np.cumsum(root == np.arange(count)) - 1)[root], dtype=np.int64)


def cycles(following: Ints) -> tuple[Ints, Ints]:
    """Walk along every cycle of a permutation [n], which is not empty.

    Returns:
        All elements [n], cycle after cycle by their smallest elements, each from its smallest on; and those [cycles].
    """
    every = np.arange(following.size, dtype=np.int64)
    least, jump = every, following
    while True:  # the least of the next 2, 4, 8, ... elements
        further = np.minimum(least, least[jump])
        if np.array_equal(further, least):
            break
        least, jump = further, jump[jump]
    ends = least == following  # what comes next is the first again
    way, left = np.where(ends, every, following), (~ends).astype(np.int64)
    while True:  # steps that are left to the end, along the next 2, 4, 8, ... of them
        further = way[way]
        if np.array_equal(further, way):
            break
        left += left[way]
        way = further
    first = np.flatnonzero(least == every)
    lengths = left[first] + 1
    starts = np.zeros(following.size, dtype=np.int64)
    starts[first] = np.cumsum(lengths) - lengths
    order = np.empty_like(every)
    order[starts[least] + left[least] - left] = every
    return order, first


def _settled(root: Ints) -> Ints:
    """Every node under the one that is its own root."""
    while True:
        above = root[root]
        if np.array_equal(above, root):
            return root
        root = above
