// Tiles that the server paints: the scene itself, and the mask of the last run.

import TileLayer from "ol/layer/Tile.js";
import ImageTile, { type Loader } from "ol/source/ImageTile.js";
import { imageTile, resultTile, type TilePlace } from "../api/calls.js";
import { isAbort } from "../api/http.js";
import type { Range } from "../api/types.js";
import type { SceneGrid } from "./grid.js";

/** A source that shows old tiles until others are there, when what it shows changes. */
class PictureSource extends ImageTile {
  show(loader: Loader, key: string): void {
    this.setLoader(loader);
    this.setKey(key);
  }
}

export class PictureTiles {
  readonly layer: TileLayer<PictureSource>;
  readonly #source: PictureSource;
  #lost = false;

  constructor(
    readonly scene: string,
    readonly grid: SceneGrid,
    kind: "image" | "result",
    private readonly onError: (error: unknown) => void,
  ) {
    this.#source = new PictureSource({
      projection: grid.projection,
      tileGrid: grid.tiles,
      interpolate: kind === "image",
      transition: 0,
      loader: async () => blank(grid),
    });
    this.layer = new TileLayer({ source: this.#source, className: `ol-layer ${kind}` });
  }

  showImage(z: number, range: Range | null): void {
    this.#show(`${z} ${range ?? ""}`, (place) => imageTile(this.scene, place, range), z);
  }

  showResult(z: number, version: string): void {
    this.#show(`${z} ${version}`, (place) => resultTile(this.scene, place), z);
  }

  /** Fetches all anew if something could not be fetched: the server answers again. */
  retry(): void {
    if (!this.#lost) return;
    this.#lost = false;
    this.#source.refresh();
  }

  #show(key: string, get: (place: TilePlace) => Promise<ImageBitmap>, z: number): void {
    this.#source.show(async (zoom, x, y) => {
      const canvas = blank(this.grid);
      try {
        // Tiles at the scene's edges are smaller than others.
        canvas.getContext("2d")?.drawImage(await get([z, this.grid.level(zoom), x, y]), 0, 0);
      } catch (error) {
        this.#lost = true;
        if (!isAbort(error)) this.onError(error);
        throw error;
      }
      return canvas;
    }, key);
  }
}

function blank(grid: SceneGrid): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = grid.tileSize;
  return canvas;
}
