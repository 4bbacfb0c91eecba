// Strokes as the browser paints them, until the server's own pixels arrive.

import type { Box, Stroke } from "../api/types.js";

/** Paints a stroke (or the end of one, from a point on) into a picture of a part of the scene.
 *
 * @param left, top the scene's pixel in the picture's upper left corner
 * @param step pixels of the scene in one of the picture
 */
export function paintStroke(
  context: CanvasRenderingContext2D,
  stroke: Stroke,
  color: string,
  [left, top, step]: [left: number, top: number, step: number],
  from = 0,
): void {
  context.save();
  context.setTransform(1 / step, 0, 0, 1 / step, -left / step, -top / step);
  context.globalCompositeOperation = stroke.tool === "eraser" ? "destination-out" : "source-over";
  context.fillStyle = context.strokeStyle = color;
  const points = stroke.points.slice(from);
  if (stroke.tool === "point") paintPoints(context, points, stroke.radius);
  else if (stroke.tool === "polygon") fillPolygon(context, points);
  else paintLine(context, points, stroke.radius);
  context.restore();
}

/** The pixels that a stroke may change. */
export function reach(stroke: Stroke): Box {
  const margin = stroke.tool === "polygon" ? 1 : stroke.radius + 1;
  const xs = stroke.points.map(([x]) => x);
  const ys = stroke.points.map(([, y]) => y);
  // No spread into Math.min: a long stroke has more points than a call may have arguments.
  const least = (values: number[]): number => values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const most = (values: number[]): number => values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const x = Math.floor(least(xs) - margin);
  const y = Math.floor(least(ys) - margin);
  return [x, y, Math.ceil(most(xs) + margin) - x, Math.ceil(most(ys) + margin) - y];
}

function paintLine(context: CanvasRenderingContext2D, points: Stroke["points"], radius: number): void {
  const [first] = points;
  if (!first) return;
  context.beginPath();
  if (points.length === 1) {
    context.arc(first[0], first[1], Math.max(radius, 0.5), 0, 2 * Math.PI);
    context.fill();
    return;
  }
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = Math.max(2 * radius, 1);
  context.moveTo(...first);
  for (const point of points.slice(1)) context.lineTo(...point);
  context.stroke();
}

function paintPoints(context: CanvasRenderingContext2D, points: Stroke["points"], radius: number): void {
  for (const [x, y] of points) {
    context.beginPath();
    context.arc(x, y, Math.max(radius, 0.5), 0, 2 * Math.PI);
    context.fill();
  }
}

function fillPolygon(context: CanvasRenderingContext2D, points: Stroke["points"]): void {
  const [first] = points;
  if (!first) return;
  context.beginPath();
  context.moveTo(...first);
  for (const point of points.slice(1)) context.lineTo(...point);
  context.closePath();
  context.fill("evenodd");
}
