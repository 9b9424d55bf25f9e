import { expect, test } from "vitest";
import { flattenRing } from "../src/antimeridian";
import { flatBox, overlaps, searchBox, unwrapped } from "../src/geo";

test("a box with heights loses them, and nonsense is no box", () => {
  expect(flatBox([1, 2, 0, 3, 4, 100])).toEqual([1, 2, 3, 4]);
  expect(flatBox([1, 2, 3])).toBeUndefined();
  expect(flatBox(undefined)).toBeUndefined();
});

test("a box over the antimeridian runs on for the map", () => {
  expect(unwrapped([177, -20, -178, -15])).toEqual([177, -20, 182, -15]);
});

test("a view in another copy of the world is searched where it is", () => {
  expect(searchBox([182, -20, 190, -10])).toEqual([-178, -20, -170, -10]);
  expect(searchBox([170, -20, 190, -10])).toEqual([170, -20, -170, -10]);
  expect(searchBox([-300, -95, 300, 95])).toEqual([-180, -90, 180, 90]);
});

test("boxes overlap across the antimeridian and across copies of the world", () => {
  expect(overlaps([177, -20, -178, -15], [-179, -18, -178.5, -17])).toBe(true);
  expect(overlaps([537, -20, 542, -15], [-179, -18, -178.5, -17])).toBe(true);
  expect(overlaps([0, 0, 1, 1], [2, 0, 3, 1])).toBe(false);
  expect(overlaps([0, 0, 1, 1], [0, 2, 1, 3])).toBe(false);
});

test("a ring over the antimeridian runs on past 180 degrees and home again", () => {
  const ring = [[170, 60], [180, 60], [-170, 65], [180, 70], [170, 60]];
  expect(flattenRing(ring)).toEqual([[170, 60], [180, 60], [190, 65], [180, 70], [170, 60]]);
});

test("a ring around the pole is closed along it", () => {
  const flat = flattenRing([[-180, -80], [-60, -70], [60, -70], [179, -80], [-180, -80]]);
  expect(flat).toEqual([[-180, -80], [-60, -70], [60, -70], [179, -80], [180, -80], [180, -90], [-180, -90], [-180, -80]]);
});
