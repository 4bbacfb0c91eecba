"""Random layouts: which region each pixel of a synthetic image belongs to.

A layout is drawn once for an episode and holds what its images have in common (scales, number of things, which region
is the target); `draw` then makes one image's region map. Regions are not materials: two regions may share a material,
and then only place or shape tells the target from its twin.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hdm_pipeline.training.synthetic.fields import Size, fractal, grid
from hdm_pipeline.training.synthetic.outlines import Outline, Regions, log_uniform, paint_stroke


@dataclass
class Layout(ABC):
    """What the region maps of one episode have in common.

    Attributes:
        regions: number of regions; 0 is the ground.
        target: regions that are labelled as target.
        twins: pairs of regions that must be given one material.
    """

    regions: int
    target: frozenset[int]
    twins: Sequence[tuple[int, int]] = field(default=(), kw_only=True)

    @abstractmethod
    def draw(self, rng: np.random.Generator, size: Size, *, with_target: bool) -> Regions:
        """One region map [H, W]; without any target region where `with_target` is false."""


@dataclass
class Cover(Layout):
    """Land cover: warped patches, each pixel belongs to the strongest of several random fields."""

    scale: float
    roughness: float
    bias: float

    @classmethod
    def sample(cls, rng: np.random.Generator, size: Size) -> Cover:
        """A layout for images of about this size."""
        regions = int(rng.integers(2, 6))
        target = {0} if regions < 4 or rng.random() < 0.7 else {0, 1}
        scale = log_uniform(rng, 8.0, 1.2 * size[0])
        return cls(regions, frozenset(target), scale, rng.uniform(1.0, 4.0), rng.uniform(-1.5, 0.8))

    def draw(self, rng: np.random.Generator, size: Size, *, with_target: bool) -> Regions:
        """See `Layout.draw`."""
        fields = np.stack([fractal(rng, size, self.scale, self.roughness) for _ in range(self.regions)])
        for region in self.target:
            fields[region] += self.bias + rng.normal(0, 0.4) if with_target else -1e6
        strongest: Regions = fields.argmax(0).astype(np.uint8)
        return strongest


@dataclass
class Flood(Layout):
    """One region below a threshold of a rough field, as water under a coast; patches of others above it."""

    scale: float
    roughness: float
    share: tuple[float, float]
    islands: bool

    @classmethod
    def sample(cls, rng: np.random.Generator, size: Size) -> Flood:
        """A layout for images of about this size."""
        low = rng.uniform(0.02, 0.4)
        share = (low, min(0.85, low + rng.uniform(0.1, 0.5)))
        scale = log_uniform(rng, 16.0, 2.0 * size[0])
        return cls(int(rng.integers(2, 5)), frozenset({1}), scale, rng.uniform(0.8, 3.5), share, rng.random() < 0.4)

    def draw(self, rng: np.random.Generator, size: Size, *, with_target: bool) -> Regions:
        """See `Layout.draw`."""
        relief = fractal(rng, size, self.scale, self.roughness)
        ground = np.zeros(size, np.uint8)
        others = [0, *range(2, self.regions)]
        if len(others) > 1:
            fields = np.stack([fractal(rng, size, 0.5 * self.scale, 2.0) for _ in others])
            ground = np.array(others, np.uint8)[fields.argmax(0)]
        if not with_target:
            return ground
        if self.islands:
            relief = np.abs(relief)
        return np.where(relief < np.quantile(relief, rng.uniform(*self.share)), np.uint8(1), ground)


@dataclass
class Fields(Layout):
    """Straight-edged cells, as fields, facets or cell tissue: nearest of random points, materials repeat."""

    cells: float
    weights: tuple[float, ...]
    stretch: float
    gap: float

    @classmethod
    def sample(cls, rng: np.random.Generator, size: Size) -> Fields:
        """A layout for images of about this size."""
        regions = int(rng.integers(2, 6))
        weights = tuple(float(w) for w in rng.dirichlet(np.full(regions, 1.5)))
        gap = float(rng.choice([0.0, 0.0, rng.uniform(1.0, 3.0)]))
        return cls(regions, frozenset({1}), log_uniform(rng, 4, 60), weights, log_uniform(rng, 1, 3), gap)

    def draw(self, rng: np.random.Generator, size: Size, *, with_target: bool) -> Regions:
        """See `Layout.draw`."""
        count = max(3, int(rng.poisson(self.cells)))
        points = rng.uniform(-0.1, 1.1, (count, 2)) * np.array(size)
        owner = rng.choice(self.regions, count, p=self.weights)
        if with_target and 1 not in owner:
            owner[rng.integers(count)] = 1
        if not with_target:
            owner[owner == 1] = 0
        y, x = grid(size)
        first = np.full(size, np.inf, np.float32)
        second = first.copy()
        best = np.zeros(size, np.uint8)
        for (py, px), region in zip(points.astype(np.float32), owner, strict=True):
            distance = np.sqrt(((y - py) * self.stretch) ** 2 + (x - px) ** 2)
            nearer = distance < first
            second = np.where(nearer, first, np.minimum(second, distance))
            first = np.where(nearer, distance, first)
            best[nearer] = region
        if self.gap > 0:
            best[second - first < self.gap] = 0
        return best


@dataclass
class Things(Layout):
    """Things on a ground: cells, buildings, grains; nested, touching, among distractors of other kinds.

    Region 0 ground, 1 second ground, 2 and 3 body and core of the target kind, 4 and 5 of the distractor kind.
    """

    kinds: tuple[Outline, Outline]
    counts: tuple[float, float]
    core: tuple[float, float]
    patches: float

    @classmethod
    def sample(cls, rng: np.random.Generator, size: Size) -> Things:
        """A layout for images of about this size."""
        side = min(size)
        mean = log_uniform(rng, 3.0, 0.35 * side)
        wanted = Outline.sample(rng, mean, mean)
        other = Outline.sample(rng, 2.0, 0.3 * side)
        room = side * side / (np.pi * mean * mean)
        counts = (min(40.0, room * log_uniform(rng, 0.05, 0.7)), float(rng.choice([0.0, 2.0, 8.0])))
        core = (0.0, 0.0) if rng.random() < 0.5 else (rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.8))
        target = [{2, 3}, {2, 3}, {3}][int(rng.integers(3))] if core[0] else {2, 3}
        # A twin of another size or shape: the distractor looks the same from within.
        differs = other.radius > 2 * mean or other.radius < 0.5 * mean
        twins = ((2, 4), (3, 5)) if counts[1] and differs and target == {2, 3} and rng.random() < 0.3 else ()
        patches = float(rng.choice([0.0, log_uniform(rng, 10, side)]))
        return cls(6, frozenset(target), (wanted, other), counts, core, patches, twins=twins)

    def draw(self, rng: np.random.Generator, size: Size, *, with_target: bool) -> Regions:
        """See `Layout.draw`."""
        regions = np.zeros(size, np.uint8)
        if self.patches:
            regions[fractal(rng, size, self.patches, 2.5) > rng.uniform(-0.5, 1.0)] = 1
        for kind in (1, 0) if rng.random() < 0.5 else (0, 1):
            if kind == 0 and not with_target:
                continue
            count = int(rng.poisson(self.counts[kind])) if kind or rng.random() < 0.7 else 1
            body = 4 if kind else 2
            rings = [(1.0, body)] + ([(self.core[kind], body + 1)] if self.core[kind] else [])
            for _ in range(max(count, 1 - kind)):
                center = (rng.uniform(0, size[0]), rng.uniform(0, size[1]))
                self.kinds[kind].paint(rng, regions, center, rings)
        return regions


@dataclass
class Network(Layout):
    """Thin lines: rivers, roads, vessels, cracks. Region 1 the lines, 2 patches, 3 lines of another kind."""

    scale: float
    width: float
    curl: float
    branches: int
    straight: bool

    @classmethod
    def sample(cls, rng: np.random.Generator, size: Size) -> Network:
        """A layout for images of about this size."""
        width = log_uniform(rng, 1.5, 7.0)
        scale = log_uniform(rng, 0.3 * size[0], 2.0 * size[0])
        return cls(
            4, frozenset({1}), scale, width, rng.uniform(0.02, 0.35), int(rng.integers(1, 6)), rng.random() < 0.4
        )

    def draw(self, rng: np.random.Generator, size: Size, *, with_target: bool) -> Regions:
        """See `Layout.draw`."""
        regions = np.zeros(size, np.uint8)
        regions[fractal(rng, size, self.scale, 2.0) > 0.8] = 2
        if rng.random() < 0.5:
            self._lines(rng, regions, 3, self.width * rng.uniform(0.4, 2.5), 2)
        if with_target:
            self._lines(rng, regions, 1, self.width, self.branches)
        return regions

    def _lines(self, rng: np.random.Generator, regions: Regions, region: int, width: float, count: int) -> None:
        size = (regions.shape[0], regions.shape[1])
        if not self.straight:
            relief = fractal(rng, size, self.scale, 3.0)
            slope = np.hypot(*np.gradient(relief)) + 1e-3
            for level in rng.normal(0, 0.7, max(1, count // 2)):
                regions[np.abs(relief - level) / slope < 0.5 * width] = region
            return
        for _ in range(count):
            position = rng.uniform(0.1, 0.9, 2) * size
            heading = rng.uniform(0, 2 * np.pi)
            length = int(rng.uniform(0.3, 1.5) * max(size))
            headings = heading + np.cumsum(rng.normal(0, self.curl, length))
            path = position + np.cumsum(np.stack((np.sin(headings), np.cos(headings)), 1), 0)
            paint_stroke(regions, path, 0.5 * width, region)


@dataclass
class Body(Layout):
    """A body with organs at places of their own, on an empty outside: place and neighbors decide, not only the look.

    Region 0 outside, 1 wall, 2 filling, 3... organs. The target is one organ; it may share its material with the
    outside (a lung and the air around the patient) or with another organ (left and right).
    """

    outline: Outline
    places: npt.NDArray[np.float64]
    organs: tuple[Outline, ...]
    wall: float
    tilt: float

    @classmethod
    def sample(cls, rng: np.random.Generator, size: Size) -> Body:
        """A layout for images of about this size."""
        side = min(size)
        count = int(rng.integers(2, 6))
        outline = Outline(0.4 * side * rng.uniform(0.8, 1.15), 0.05, rng.uniform(1.0, 1.5), rng.uniform(0, 0.15), 0)
        angles = rng.uniform(0, 2 * np.pi) + np.arange(count) * 2 * np.pi / count + rng.normal(0, 0.3, count)
        distance = rng.uniform(0.25, 0.6, count)
        places = np.stack((np.sin(angles) * distance, np.cos(angles) * distance), 1)
        sizes = rng.uniform(0.05, 0.2, count) * side
        organs = tuple(Outline(float(r), 0.12, rng.uniform(1, 2), rng.uniform(0, 0.3), 0) for r in sizes)
        draw = rng.random()
        twins: list[tuple[int, int]] = [(0, 3)] if draw < 0.45 else ([(3, 4)] if draw < 0.6 else [])
        target = {3, 5} if count > 2 and rng.random() < 0.3 else {3}
        if 5 in target and twins == [(0, 3)]:
            twins.append((0, 5))
        wall = float(rng.choice([0.0, rng.uniform(0.04, 0.15)]))
        return cls(3 + count, frozenset(target), outline, places, organs, wall, rng.uniform(0, np.pi), twins=twins)

    def draw(self, rng: np.random.Generator, size: Size, *, with_target: bool) -> Regions:
        """See `Layout.draw`."""
        regions = np.zeros(size, np.uint8)
        side = min(size)
        zoom = rng.uniform(0.9, 1.1)
        center = np.array(size) / 2 + rng.normal(0, 0.05, 2) * side
        rings = [(1.0, 1), (1.0 - self.wall, 2)] if self.wall else [(1.0, 2)]
        self.outline.paint(rng, regions, (center[0], center[1]), rings, self.tilt + rng.normal(0, 0.1))
        body = regions > 0
        for number, (place, organ) in enumerate(zip(self.places, self.organs, strict=True), start=3):
            if number in self.target and not with_target:
                continue
            shift = place * self.outline.radius * zoom + rng.normal(0, 0.03, 2) * side
            where = (float(center[0] + shift[0]), float(center[1] + shift[1]))
            organ.paint(rng, regions, where, [(1.0, number)], self.tilt + rng.normal(0, 0.3))
        regions[~body] = 0
        return regions


@dataclass
class Defects(Layout):
    """A few small flaws on a plain or patterned surface. Region 1 the flaw, 2 a harmless mark."""

    outline: Outline
    scratch: float
    marks: float

    @classmethod
    def sample(cls, rng: np.random.Generator, size: Size) -> Defects:
        """A layout for images of about this size."""
        outline = Outline.sample(rng, 2.0, 0.12 * size[0])
        return cls(
            3, frozenset({1}), outline, float(rng.choice([0.0, rng.uniform(1, 4)])), float(rng.choice([0.0, 2.0]))
        )

    def draw(self, rng: np.random.Generator, size: Size, *, with_target: bool) -> Regions:
        """See `Layout.draw`."""
        regions = np.zeros(size, np.uint8)
        for _ in range(int(rng.poisson(self.marks))):
            Outline(4.0, 0.4, 1.5, 0.2, 0).paint(rng, regions, tuple(rng.uniform(0, 1, 2) * size), [(1.0, 2)])
        for _ in range(int(rng.integers(1, 4)) if with_target else 0):
            start = rng.uniform(0.1, 0.9, 2) * size
            if self.scratch:
                heading = rng.uniform(0, 2 * np.pi) + np.cumsum(
                    rng.normal(0, 0.05, int(rng.uniform(0.1, 0.7) * size[0]))
                )
                path = start + np.cumsum(np.stack((np.sin(heading), np.cos(heading)), 1), 0)
                paint_stroke(regions, path, 0.5 * self.scratch, 1)
            else:
                self.outline.paint(rng, regions, (float(start[0]), float(start[1])), [(1.0, 1)])
        return regions


LAYOUTS: tuple[tuple[type[Cover | Flood | Fields | Things | Network | Body | Defects], float], ...] = (
    (Cover, 0.14),
    (Flood, 0.18),
    (Fields, 0.08),
    (Things, 0.26),
    (Network, 0.08),
    (Body, 0.18),
    (Defects, 0.08),
)
"""Every kind of layout with its share of the episodes."""


def sample_layout(rng: np.random.Generator, size: Size) -> Layout:
    """A random layout for images of about this size."""
    shares = np.array([share for _, share in LAYOUTS])
    kind = LAYOUTS[int(rng.choice(len(LAYOUTS), p=shares / shares.sum()))][0]
    return kind.sample(rng, size)
