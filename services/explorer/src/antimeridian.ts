import type { Position } from "geojson";

/**
 * Make a ring continuous on a flat map.
 *
 * World-atlas keeps shapes whole on the globe: a ring over the antimeridian jumps from 180° to -180°, which a flat map
 * draws as a bar across the world. Here the longitudes run on past 180° instead. A ring around a pole, as Antarctica's,
 * comes home a whole turn away and is closed along the pole.
 */
export function flattenRing(ring: Position[]): Position[] {
  let turn = 0;
  let before: number | undefined;
  const flat = ring.map(([longitude = 0, latitude = 0]): [number, number] => {
    if (before !== undefined && Math.abs(longitude - before) > 180) turn += longitude < before ? 360 : -360;
    before = longitude;
    return [longitude + turn, latitude];
  });
  const [first, last] = [flat[0], flat.at(-1)];
  if (!first || !last || Math.abs(last[0] - first[0]) < 180) return flat;
  const pole = first[1] < 0 ? -90 : 90;
  return [...flat, [last[0], pole], [first[0], pole], first];
}
