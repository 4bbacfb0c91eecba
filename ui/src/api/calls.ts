// One function for each request that the page makes.

import { getJson, getPicture, PAGE, sendJson } from "./http.js";
import type {
  Attempt,
  Box,
  Changed,
  ClassInfo,
  Examples,
  Plan,
  Range,
  RunState,
  SceneDetail,
  SceneLabels,
  SceneList,
  SceneQuery,
  Stroke,
  StudioState,
  Suggestions,
} from "./types.js";

const at = (id: string): string => `/api/scenes/${encodeURIComponent(id)}`;

export const getState = (): Promise<StudioState> => getJson("/api/state");

export function getScenes(query: SceneQuery, signal?: AbortSignal): Promise<SceneList> {
  const entries = Object.entries(query).map(([key, value]): [string, string] => [key, String(value)]);
  return getJson(`/api/scenes?${new URLSearchParams(entries)}`, signal);
}

/** Looks through the archive again. */
export const refresh = (): Promise<unknown> => sendJson("POST", "/api/refresh");

export const getScene = (id: string): Promise<SceneDetail> => getJson(at(id));

export const getLabels = (id: string): Promise<SceneLabels> => getJson(`${at(id)}/labels`);

export const thumbnailUrl = (id: string, version: string): string =>
  `${at(id)}/thumbnail.png?v=${encodeURIComponent(version)}`;

export const imageUrl = (id: string, [z, level, x, y]: TilePlace): string =>
  `${at(id)}/image/${z}/${level}/${x}/${y}.png`;

export function imageTile(
  id: string,
  place: TilePlace,
  range: Range | null,
  signal?: AbortSignal,
): Promise<ImageBitmap> {
  const query = range ? `?low=${range[0]}&high=${range[1]}` : "";
  return getPicture(`${imageUrl(id, place)}${query}`, signal);
}

export type TilePlace = [z: number, level: number, x: number, y: number];

export const labelTile = (
  id: string,
  [z, level, x, y]: TilePlace,
  revision: number,
  signal?: AbortSignal,
): Promise<ImageBitmap> => getPicture(`${at(id)}/labels/${z}/${level}/${x}/${y}.png?revision=${revision}`, signal);

export const resultTile = (id: string, [z, level, x, y]: TilePlace, signal?: AbortSignal): Promise<ImageBitmap> =>
  getPicture(`${at(id)}/result/${z}/${level}/${x}/${y}.png`, signal);

export const sendStroke = (id: string, stroke: Stroke): Promise<Changed> =>
  sendJson("POST", `${at(id)}/strokes`, stroke);

export const undo = (id: string): Promise<Changed> => sendJson("POST", `${at(id)}/undo`);

export const redo = (id: string): Promise<Changed> => sendJson("POST", `${at(id)}/redo`);

export const tryWindow = (
  scene: string,
  z: number,
  window: Box,
  uncertainty: boolean,
  signal?: AbortSignal,
): Promise<Attempt> => sendJson("POST", "/api/try", { scene, z, window, uncertainty, page: PAGE }, signal);

export const tryPicture = (id: string, name: string, query = "", signal?: AbortSignal): Promise<ImageBitmap> =>
  getPicture(`/api/tries/${encodeURIComponent(id)}/${name}.png${query}`, signal);

export const getExamples = (): Promise<Examples> => getJson("/api/examples");

export const removeExample = (scene: string, className: string): Promise<Examples> =>
  sendJson("DELETE", "/api/examples", { scene, class: className });

export const addClass = (name: string, color: string): Promise<{ classes: ClassInfo[] }> =>
  sendJson("POST", "/api/classes", { name, color });

/** An example that the pipeline file names of this studio's labels. */
export interface Entered {
  class: string;
  scene: string;
}

/** Labels that could not be entered, and why. */
export interface LeftOut {
  readonly scene: string;
  readonly why: string;
}

export const save = (): Promise<{ file: string; examples: Entered[]; left_out: LeftOut[] }> =>
  sendJson("POST", "/api/save");

export const getSaveText = (): Promise<{ file: string; text: string }> => getJson("/api/save");

export const getPlan = (): Promise<Plan> => getJson("/api/plan");

export const getSuggestions = (): Promise<Suggestions> => getJson("/api/suggestions");

export const startSuggestions = (): Promise<unknown> => sendJson("POST", "/api/suggestions");

export const startRun = (): Promise<RunState> => sendJson("POST", "/api/run");

export const stopRun = (): Promise<RunState> => sendJson("POST", "/api/run/stop");
