import { expect, test } from "vitest";
import { formatHash, parseHash } from "../src/state";

const EMPTY = { view: undefined, collection: undefined, item: undefined, render: undefined, layers: [] };

test("an empty hash is an empty state", () => {
  expect(parseHash("")).toEqual(EMPTY);
  expect(formatHash(EMPTY)).toBe("#");
});

test("a state survives the address bar, whatever the ids hold", () => {
  const state = {
    view: { zoom: 9.25, lat: -26.60437, lon: -55.43568 },
    collection: "drone & field=7",
    item: "flight/2024#1 ü",
    render: "ndvi",
    layers: ["farm.zones", "farm.a+b"],
  };
  expect(parseHash(formatHash(state))).toEqual(state);
});

test("an item or a look without its collection means nothing", () => {
  expect(parseHash("#item=a&render=b")).toEqual(EMPTY);
});

test("a view that is none is left out", () => {
  for (const view of ["", "1/2", "x/1/2", "3/91/0", "-1/0/0", "1/2/3/4"]) {
    expect(parseHash(`#view=${view}`).view).toBeUndefined();
  }
});

test("a layer is on once", () => {
  expect(parseHash("#layer=a&layer=b&layer=a").layers).toEqual(["a", "b"]);
});
