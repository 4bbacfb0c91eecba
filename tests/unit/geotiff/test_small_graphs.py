"""Small graphs are numbered as scipy numbers them, which does the large ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from hdm_geotiff.polygons import cycles as rings
from hdm_geotiff.polygons.small_graphs import components, cycles


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 999])
@pytest.mark.parametrize("length", [1, 5, None])
def test_cycles_are_walked_as_by_scipy(count: int, length: int | None):
    rng = np.random.default_rng(count)
    names = rng.permutation(count)
    following = np.empty(count, np.int64)
    for ring in np.split(names, range(length, count, length)) if length else [names]:
        following[ring] = np.roll(ring, -1)
    order, first = cycles(following)
    expected_order, expected_first = rings._cycles_by_scipy(following)
    np.testing.assert_array_equal(order, expected_order)
    np.testing.assert_array_equal(first, expected_first)


@pytest.mark.parametrize("edges", [0, 1, 30, 300, 3000])
def test_components_are_numbered_as_by_scipy(edges: int):
    rng = np.random.default_rng(edges)
    count = 500
    one, other = rng.integers(0, count, (2, edges))
    graph = csr_array((np.ones(edges, np.int8), (one, other)), (count, count))
    np.testing.assert_array_equal(components(one, other, count), connected_components(graph, directed=False)[1])


def test_a_long_chain_is_one_component():
    chain = np.random.default_rng(0).permutation(2000)
    assert not components(chain[:-1], chain[1:], 2000).any()
