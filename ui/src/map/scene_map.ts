// The map: the scene, what was found, what is drawn, and what is being drawn, on each other.

import OlMap from "ol/Map.js";
import View from "ol/View.js";
import type { Outbox } from "../api/outbox.js";
import type { Box, Changed, SceneDetail, Stroke } from "../api/types.js";
import type { Model } from "../app/model.js";
import { contrastDrag } from "./contrast.js";
import { Drawing } from "./drawing.js";
import { SceneGrid } from "./grid.js";
import { LabelTiles } from "./label_tiles.js";
import { Overlay } from "./overlay.js";
import { reach } from "./paint.js";
import { PictureTiles } from "./picture_tiles.js";
import { Hands, navigation } from "./pointer.js";
import { cutAtLine } from "./swipe.js";

const MARGIN = 24;

export class SceneMap {
  readonly map: OlMap;
  readonly hands: Hands;
  readonly overlay = new Overlay();
  readonly drawing: Drawing;
  #grid: SceneGrid | null = null;
  #image: PictureTiles | null = null;
  #result: PictureTiles | null = null;
  #labels: LabelTiles | null = null;

  /**
   * @param onStroke a stroke was drawn
   * @param onError a picture could not be shown
   */
  constructor(
    readonly target: HTMLElement,
    private readonly model: Model,
    private readonly outbox: Outbox,
    onStroke: (stroke: Stroke) => void,
    private readonly onError: (error: unknown) => void,
  ) {
    this.hands = new Hands(() => model.tool.value);
    const interactions = navigation(this.hands, () => model.isVolume);
    this.map = new OlMap({ target, controls: [], interactions, moveTolerance: 2 });
    this.drawing = new Drawing(this.map, model, () => this.#grid, this.hands, {
      onPart: (stroke, from) => this.#labels?.paint(stroke, from),
      onDone: onStroke,
      onCancel: (stroke) => void this.refreshLabels(reach(stroke)),
    });
    this.map.addInteraction(contrastDrag(model, this.hands));
    this.map.addInteraction(this.drawing.interaction);
    cutAtLine(this.overlay.layer, this.map, () => model.swipe.value);
    this.map.on("moveend", () => this.#tellView());
    this.#listen();
    this.#follow();
  }

  get grid(): SceneGrid | null {
    return this.#grid;
  }

  /** What one sees of the scene; null where one sees none of it. */
  visible(): Box | null {
    return this.#grid?.boxOf(this.map.getView().calculateExtent(this.map.getSize())) ?? null;
  }

  /** Shows a part of the scene, or all of it. */
  fit(box?: Box): void {
    const grid = this.#grid;
    if (!grid) return;
    // Beside the tools and over the bar at the foot.
    const padding = [MARGIN, 3 * MARGIN, 2 * MARGIN + (this.model.isVolume ? 2 * MARGIN : 0), 3 * MARGIN];
    this.map.getView().fit(box ? grid.extentOf(box) : grid.extent, { padding, minResolution: box ? 0.25 : 0 });
  }

  zoom(steps: number): void {
    const view = this.map.getView();
    view.animate({ zoom: (view.getZoom() ?? 0) + steps, duration: 150 });
  }

  /** Paints a stroke again that was drawn without the pointer, or takes the server's pixels where none is given. */
  async refreshLabels(box: Box | null, answer?: Changed): Promise<void> {
    await this.#labels?.refresh(box, answer?.revision ?? this.model.labels.value?.revision ?? 0);
  }

  /** Fetches what could not be fetched while the server was away. */
  retry(): void {
    for (const tiles of [this.#image, this.#result, this.#labels]) tiles?.retry();
  }

  redraw(): void {
    this.map.render();
  }

  /** For programs that drive the page: which pixel of the scene is in the middle, and pixels of it in one of the screen. */
  #tellView(): void {
    const view = this.map.getView();
    const center = view.getCenter();
    if (!center || !this.#grid) return;
    this.target.dataset.scene = this.#image?.scene ?? "";
    this.target.dataset.center = this.#grid.toScene(center).join(" ");
    this.target.dataset.resolution = String(view.getResolution());
    this.target.dataset.aspect = String(this.#grid.aspect);
  }

  #listen(): void {
    const viewport = this.target;
    viewport.addEventListener("pointerdown", (event) => this.hands.notice(event), { capture: true });
    viewport.addEventListener("pointerdown", () => viewport.classList.add("by-pointer"), { capture: true });
    viewport.addEventListener("blur", () => viewport.classList.remove("by-pointer"));
    viewport.addEventListener("contextmenu", (event) => event.preventDefault());
    viewport.addEventListener("mousedown", (event) => {
      if (event.button === 1) event.preventDefault();
    });
    let turned = 0;
    viewport.addEventListener(
      "wheel",
      (event) => {
        if (!this.model.isVolume || event.ctrlKey) return;
        event.preventDefault();
        turned += event.deltaMode === 0 ? event.deltaY : 40 * event.deltaY;
        const steps = Math.trunc(turned / 40);
        turned -= 40 * steps;
        const depth = this.model.scene.value?.shape[1] ?? 1;
        this.model.slice.set(Math.min(depth - 1, Math.max(0, this.model.slice.value + Math.sign(steps))));
      },
      { passive: false },
    );
  }

  #follow(): void {
    const { model } = this;
    model.scene.follow((scene) => this.#open(scene));
    model.slice.onChange(() => this.#showSlice());
    model.range.onChange(() => this.#showImage());
    model.classes.onChange(() => void this.refreshLabels(null));
    for (const signal of [model.labelOpacity, model.labelsShown, model.maskOpacity, model.view]) {
      signal.onChange(() => this.#showLayers());
    }
    model.swipe.onChange(() => this.redraw());
  }

  #open(scene: SceneDetail | null): void {
    if (scene && scene.id === this.#image?.scene) {
      this.#showResult();
      return;
    }
    this.drawing.cancel();
    this.overlay.clear();
    this.#labels = null;
    if (!scene) {
      this.#grid = null;
      this.map.setLayers([]);
      return;
    }
    const grid = new SceneGrid(scene);
    this.#grid = grid;
    this.#image = new PictureTiles(scene.id, grid, "image", this.onError);
    this.#result = new PictureTiles(scene.id, grid, "result", this.onError);
    cutAtLine(this.#result.layer, this.map, () => this.model.swipe.value);
    this.map.setView(
      new View({
        projection: grid.projection,
        resolutions: grid.resolutions,
        constrainResolution: false,
        extent: grid.extent,
        constrainOnlyCenter: true,
        showFullExtent: true,
        smoothExtentConstraint: false,
        enableRotation: false,
      }),
    );
    this.#showSlice();
    this.fit();
    this.#tellView(); // scenes of one size have one view: then nothing moves
  }

  #showSlice(): void {
    const scene = this.model.scene.value;
    const grid = this.#grid;
    if (!scene || !grid || !this.#image || !this.#result) return;
    this.overlay.clear();
    const z = this.model.slice.value;
    this.#labels = new LabelTiles(
      scene.id,
      z,
      grid,
      this.model.labels.value?.revision ?? this.model.studio.value.revision,
      () => this.#unsaved(scene.id, z),
      (value) => this.model.color(value),
      this.onError,
    );
    this.#showImage();
    this.#showResult();
    this.map.setLayers([
      this.#image.layer,
      this.#result.layer,
      this.overlay.layer,
      this.#labels.layer,
      this.drawing.sketch.layer,
    ]);
    this.#showLayers();
  }

  #unsaved(scene: string, z: number): Stroke[] {
    const waiting = this.outbox.of(scene).map(({ stroke }) => stroke);
    const { current } = this.drawing;
    return [...waiting, ...(current ? [current] : [])].filter((stroke) => stroke.z === z);
  }

  #showImage(): void {
    this.#image?.showImage(this.model.slice.value, this.model.range.value);
  }

  #showResult(): void {
    const version = JSON.stringify(this.model.scene.value?.measures ?? {});
    this.#result?.showResult(this.model.slice.value, version);
  }

  #showLayers(): void {
    const { model } = this;
    this.#labels?.layer.setVisible(model.labelsShown.value);
    this.#labels?.layer.setOpacity(model.labelOpacity.value);
    this.overlay.layer.setVisible(model.view.value !== "none" && model.view.value !== "result");
    this.overlay.layer.setOpacity(model.maskOpacity.value);
    this.#result?.layer.setVisible(model.view.value === "result" && (model.scene.value?.outputs.length ?? 0) > 0);
    this.#result?.layer.setOpacity(model.maskOpacity.value);
  }
}
