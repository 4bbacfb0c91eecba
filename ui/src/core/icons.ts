// Icons as SVG elements, drawn with the color of the text around them.

const PATHS = {
  archive: "M4 6h16M4 12h16M4 18h16",
  brush: "M14.5 4.5l5 5-8.5 8.5-5-5zM6 13c-2 .5-3 2-3 5 0 1-.5 2-1 2.5 3 .5 7 0 8-2.5",
  eraser: "M8.5 19.5L3 14l9.5-9.5 7 7-8 8zM8 9l7 7M8.5 19.5H20",
  polygon: "M12 3.5l8.5 6-3 10.5h-11l-3-10.5z",
  point: "M12 12m-2.2 0a2.2 2.2 0 1 0 4.4 0a2.2 2.2 0 1 0-4.4 0M12 3v3.5M12 17.5V21M3 12h3.5M17.5 12H21",
  pan: "M12 3v18M3 12h18M12 3L9.5 5.5M12 3l2.5 2.5M12 21l-2.5-2.5M12 21l2.5-2.5M3 12l2.5-2.5M3 12l2.5 2.5M21 12l-2.5-2.5M21 12l-2.5 2.5",
  contrast: "M12 12m-8.5 0a8.5 8.5 0 1 0 17 0a8.5 8.5 0 1 0-17 0M12 3.5v17M12 7h6.8M12 11h8.4M12 15h7.8",
  undo: "M8.5 5L4 9.5 8.5 14M4 9.5h10a5.5 5.5 0 0 1 0 11h-3",
  redo: "M15.5 5L20 9.5 15.5 14M20 9.5H10a5.5 5.5 0 0 0 0 11h3",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  save: "M5 4h11l4 4v12H4V4zM8 4v5h7V4M8 20v-6h8v6",
  help: "M9 9.2a3 3 0 1 1 4.4 2.6c-1 .600-1.4 1.2-1.4 2.2M12 17.5v.1M12 12m-9 0a9 9 0 1 0 18 0a9 9 0 1 0-18 0",
  theme:
    "M12 12m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19",
  close: "M6 6l12 12M18 6L6 18",
  search: "M10.5 10.5m-6.5 0a6.5 6.5 0 1 0 13 0a6.5 6.5 0 1 0-13 0M15.5 15.5L21 21",
  refresh: "M20 5v5h-5M4 19v-5h5M19 10a7.5 7.5 0 0 0-13.5-2.5M5 14a7.5 7.5 0 0 0 13.5 2.5",
  spark: "M12 3l2 6.5L20.5 12 14 14.5 12 21l-2-6.5L3.5 12 10 9.5z",
  play: "M7 4.5v15l12-7.5z",
  stop: "M6 6h12v12H6z",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  previous: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  swipe: "M12 3v18M8 8l-4 4 4 4M16 8l4 4-4 4",
  warning: "M12 4L2.5 20h19zM12 10v4.5M12 17.2v.1",
  check: "M5 12.5l4.5 4.5L19 7.5",
} as const;

export type Icon = keyof typeof PATHS;

const SVG = "http://www.w3.org/2000/svg";

export function icon(name: Icon): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
