// A scene's own pixels as a map: x to the right, y down, no projection of the earth.

import { Projection } from "ol/proj.js";
import TileGrid from "ol/tilegrid/TileGrid.js";
import type { Box, Point, SceneDetail } from "../api/types.js";

/** How much finer than the scene's pixels one may look. */
const MAGNIFIED = 32;

export class SceneGrid {
  readonly width: number;
  readonly height: number;
  /** How much higher than wide a pixel is shown: slices of reformatted volumes have oblong pixels. */
  readonly aspect: number;
  readonly extent: [number, number, number, number];
  readonly projection: Projection;
  readonly tiles: TileGrid;
  readonly levels: number;
  readonly tileSize: number;

  constructor(scene: SceneDetail) {
    const [, , height, width] = scene.shape;
    this.width = width;
    this.height = height;
    const [, y, x] = scene.spacing_mm ?? [1, 1, 1];
    this.aspect = Math.abs(y / x - 1) > 0.01 ? y / x : 1;
    this.extent = [0, -height * this.aspect, width, 0];
    this.projection = new Projection({ code: "scene", units: "pixels", extent: this.extent });
    this.levels = scene.levels;
    this.tileSize = scene.tile;
    this.tiles = new TileGrid({
      origin: [0, 0],
      extent: this.extent,
      resolutions: Array.from({ length: scene.levels }, (_, z) => 2 ** (scene.levels - 1 - z)),
      tileSize: [scene.tile, scene.tile * this.aspect],
    });
  }

  /** The level of the server's tiles (0 is the scene itself) at a zoom of the tile grid. */
  level(zoom: number): number {
    return this.levels - 1 - zoom;
  }

  /** Resolutions that one may look at: the whole scene at half the size, down to large single pixels. */
  get resolutions(): number[] {
    const coarsest = 2 ** this.levels;
    const steps = Math.log2(coarsest * MAGNIFIED);
    return Array.from({ length: steps + 1 }, (_, step) => coarsest / 2 ** step);
  }

  toScene([x = 0, y = 0]: number[]): Point {
    return [x, -y / this.aspect];
  }

  toMap([x, y]: Point): [number, number] {
    return [x, -y * this.aspect];
  }

  extentOf([x, y, width, height]: Box): [number, number, number, number] {
    return [x, -(y + height) * this.aspect, x + width, -y * this.aspect];
  }

  /** The pixels of the scene that a part of the map shows; null where it shows none. */
  boxOf(extent: number[]): Box | null {
    const [left = 0, bottom = 0, right = 0, top = 0] = extent;
    const x = Math.max(0, Math.floor(left));
    const y = Math.max(0, Math.floor(-top / this.aspect));
    const width = Math.min(this.width, Math.ceil(right)) - x;
    const height = Math.min(this.height, Math.ceil(-bottom / this.aspect)) - y;
    return width > 0 && height > 0 ? [x, y, width, height] : null;
  }
}
