// Numbers as people read them.

const WHOLE = new Intl.NumberFormat("en");

export function count(value: number, one: string, many = `${one}s`): string {
  return `${WHOLE.format(value)} ${value === 1 ? one : many}`;
}

export function whole(value: number): string {
  return WHOLE.format(Math.round(value));
}

/** Three digits that count: 1.23, 12.3, 123, 1,234. */
export function short(value: number): string {
  const size = Math.abs(value);
  const digits = size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : 2;
  return new Intl.NumberFormat("en", { maximumFractionDigits: digits }).format(value);
}

export function area(squareMeters: number): string {
  if (squareMeters >= 1e6) return `${short(squareMeters / 1e6)} km²`;
  if (squareMeters >= 1e4) return `${short(squareMeters / 1e4)} ha`;
  if (squareMeters >= 1 || squareMeters === 0) return `${short(squareMeters)} m²`;
  return `${short(squareMeters * 1e4)} cm²`;
}

export function seconds(value: number): string {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** A date of ISO 8601 without its time where that is midnight. */
export function date(iso: string): string {
  return iso.replace(/T00:00(:00(\.0+)?)?(Z|[+-]00:00)?$/, "").replace("T", " ");
}
