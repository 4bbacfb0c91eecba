// What a try found, as one picture over the scene.

import ImageLayer from "ol/layer/Image.js";
import ImageSource from "ol/source/Image.js";
import type { Box } from "../api/types.js";
import type { SceneGrid } from "./grid.js";

export class Overlay {
  readonly layer = new ImageLayer<ImageSource>({ className: "ol-layer overlay" });

  show(grid: SceneGrid, picture: ImageBitmap, box: Box): void {
    const extent = grid.extentOf(box);
    const canvas = document.createElement("canvas");
    canvas.width = picture.width;
    canvas.height = picture.height;
    canvas.getContext("2d")?.drawImage(picture, 0, 0);
    this.layer.setSource(
      new ImageSource({
        projection: grid.projection,
        interpolate: false,
        loader: async () => ({ image: canvas, extent, resolution: 1, pixelRatio: 1 }),
      }),
    );
  }

  clear(): void {
    this.layer.setSource(null);
  }
}
