/** West, south, east, north in degrees; west > east means across the antimeridian. */
export type Box = [number, number, number, number];

/** The horizontal part of a STAC bounding box of 4 or 6 numbers. */
export function flatBox(bbox: readonly number[] | undefined): Box | undefined {
  const box = bbox?.length === 6 ? [bbox[0], bbox[1], bbox[3], bbox[4]] : bbox;
  return box?.length === 4 && box.every(Number.isFinite) ? (box as Box) : undefined;
}

/** As MapLibre wants it: east is never less than west. */
export function unwrapped([west, south, east, north]: Box): Box {
  return [west, south, east < west ? east + 360 : east, north];
}

/** A map's view as a STAC bounding box: longitudes within ±180, latitudes within ±90. */
export function searchBox([west, south, east, north]: Box): Box {
  const [low, high] = [Math.max(south, -90), Math.min(north, 90)];
  return east - west >= 360 ? [-180, low, 180, high] : [wrap(west), low, wrap(east), high];
}

/** Whether two boxes share any ground, in whichever copy of the world they are given. */
export function overlaps(one: Box, other: Box): boolean {
  const [a, b] = [unwrapped(one), unwrapped(other)];
  const meet = turned(b[0] - a[0]) <= a[2] - a[0] || turned(a[0] - b[0]) <= b[2] - b[0];
  return meet && a[1] <= b[3] && b[1] <= a[3];
}

/** A longitude between -180 and 180, without the latter. */
function wrap(longitude: number): number {
  return turned(longitude + 180) - 180;
}

/** The same angle between 0 and 360, without the latter. */
function turned(angle: number): number {
  return ((angle % 360) + 360) % 360;
}
