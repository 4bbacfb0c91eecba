// The labels of a slice as tiles that the browser may paint on, so that a stroke is seen at once.

import TileLayer from "ol/layer/Tile.js";
import ImageTile from "ol/source/ImageTile.js";
import { labelTile } from "../api/calls.js";
import { isAbort } from "../api/http.js";
import type { Box, Stroke } from "../api/types.js";
import type { SceneGrid } from "./grid.js";
import { paintStroke, reach } from "./paint.js";

/** Tiles that are kept; more than a screen shows at once. */
const KEPT = 600;

interface Sheet {
  level: number;
  x: number;
  y: number;
  canvas: HTMLCanvasElement;
  context: CanvasRenderingContext2D;
  /** Rises with every fetch, so that an answer that was overtaken is not painted. */
  fetch: number;
}

export class LabelTiles {
  readonly layer: TileLayer<ImageTile>;
  readonly #sheets = new Map<string, Sheet>();
  #revision = 0;
  #lost = false;

  /**
   * @param waiting strokes on the slice that the server does not know yet: they are painted over what it gives
   * @param color of a label value
   */
  constructor(
    readonly scene: string,
    readonly z: number,
    readonly grid: SceneGrid,
    revision: number,
    private readonly waiting: () => Stroke[],
    private readonly color: (value: number) => string,
    private readonly onError: (error: unknown) => void,
  ) {
    this.#revision = revision;
    const source = new ImageTile({
      projection: grid.projection,
      tileGrid: grid.tiles,
      interpolate: false,
      transition: 0,
      loader: (zoom, x, y) => this.#load(grid.level(zoom), x, y),
    });
    this.layer = new TileLayer({ source, className: "ol-layer labels" });
  }

  /** Paints a stroke that is being drawn, from one of its points on. */
  paint(stroke: Stroke, from = 0): void {
    if (stroke.z !== this.z) return;
    const part = { ...stroke, points: stroke.points.slice(from) };
    for (const sheet of this.#touched(reach(part))) this.#paintOn(sheet, part);
    this.layer.changed();
  }

  /** Fetches anew what changed; everything where no box is given. */
  async refresh(box: Box | null, revision: number): Promise<void> {
    this.#revision = Math.max(revision, this.#revision);
    const sheets = box ? this.#touched(box) : [...this.#sheets.values()];
    await Promise.all(sheets.map((sheet) => this.#fetch(sheet)));
  }

  async #load(level: number, x: number, y: number): Promise<HTMLCanvasElement> {
    const key = `${level}/${x}/${y}`;
    let sheet = this.#sheets.get(key);
    if (!sheet) {
      sheet = this.#blank(level, x, y);
      this.#sheets.set(key, sheet);
      await this.#fetch(sheet);
      this.#forget();
    }
    return sheet.canvas;
  }

  async #fetch(sheet: Sheet): Promise<void> {
    const turn = ++sheet.fetch;
    try {
      const picture = await labelTile(this.scene, [this.z, sheet.level, sheet.x, sheet.y], this.#revision);
      if (turn !== sheet.fetch) return;
      const { canvas, context } = sheet;
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.drawImage(picture, 0, 0);
      for (const stroke of this.waiting()) this.#paintOn(sheet, stroke);
      this.layer.changed();
    } catch (error) {
      this.#lost = true;
      if (!isAbort(error)) this.onError(error);
    }
  }

  /** Fetches all anew if something could not be fetched: the server answers again. */
  retry(): void {
    if (!this.#lost) return;
    this.#lost = false;
    void this.refresh(null, this.#revision);
  }

  #paintOn(sheet: Sheet, stroke: Stroke): void {
    const step = 2 ** sheet.level;
    const side = this.grid.tileSize * step;
    paintStroke(sheet.context, stroke, this.color(stroke.value), [sheet.x * side, sheet.y * side, step]);
  }

  #touched([x, y, width, height]: Box): Sheet[] {
    return [...this.#sheets.values()].filter((sheet) => {
      const side = this.grid.tileSize * 2 ** sheet.level;
      const [left, top] = [sheet.x * side, sheet.y * side];
      return left < x + width && x < left + side && top < y + height && y < top + side;
    });
  }

  #blank(level: number, x: number, y: number): Sheet {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = this.grid.tileSize;
    const context = canvas.getContext("2d");
    if (!context) throw new Error("this browser gives no canvas");
    return { level, x, y, canvas, context, fetch: 0 };
  }

  /** Begins anew where there are too many: a tile that is seen must be one that can be painted on. */
  #forget(): void {
    if (this.#sheets.size <= KEPT) return;
    this.#sheets.clear();
    this.layer.getSource()?.refresh();
  }
}
