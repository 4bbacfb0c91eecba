// What is drawn over the map while one draws: the ring of the brush, and the polygon that is not closed yet.

import Feature from "ol/Feature.js";
import { LineString, Polygon } from "ol/geom.js";
import VectorLayer from "ol/layer/Vector.js";
import VectorSource from "ol/source/Vector.js";
import { Fill, Stroke as Line, Style } from "ol/style.js";
import type { Point } from "../api/types.js";
import type { SceneGrid } from "./grid.js";

const CORNERS = 64;

export class Sketch {
  readonly layer: VectorLayer;
  readonly #ring = new Feature<Polygon>();
  readonly #outline = new Feature<LineString | Polygon>();

  constructor() {
    const source = new VectorSource({ features: [this.#ring, this.#outline] });
    this.layer = new VectorLayer({ source, updateWhileInteracting: true, updateWhileAnimating: true, zIndex: 10 });
  }

  /** The ring of a brush at a place; none where no place is given. */
  ring(grid: SceneGrid, at: Point | null, radius: number, color: string): void {
    if (!at) {
      this.#ring.setGeometry(undefined);
      return;
    }
    const corners = Array.from({ length: CORNERS + 1 }, (_, index) => {
      const angle = (2 * Math.PI * index) / CORNERS;
      return grid.toMap([at[0] + radius * Math.cos(angle), at[1] + radius * Math.sin(angle)]);
    });
    this.#ring.setStyle(twoLines(color, 2));
    this.#ring.setGeometry(new Polygon([corners]));
  }

  /** A polygon in the making; none without points. */
  outline(grid: SceneGrid, points: Point[], color: string): void {
    if (points.length === 0) {
      this.#outline.setGeometry(undefined);
      return;
    }
    const places = points.map((point) => grid.toMap(point));
    this.#outline.setStyle([...twoLines(color, 2), new Style({ fill: new Fill({ color: `${color}40` }) })]);
    this.#outline.setGeometry(places.length > 2 ? new Polygon([places]) : new LineString(places));
  }
}

/** A line that is seen on dark and on light ground. */
function twoLines(color: string, width: number): Style[] {
  return [
    new Style({ stroke: new Line({ color: "rgba(0, 0, 0, 0.75)", width: width + 3 }) }),
    new Style({ stroke: new Line({ color: "#ffffff", width: width + 1.5 }) }),
    new Style({ stroke: new Line({ color, width }) }),
  ];
}
