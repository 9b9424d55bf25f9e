import { afterEach, expect, test, vi } from "vitest";
import { legendUrl, pointUrl, readings, tileJsonUrl } from "../src/raster";
import { collectionsPage, datetimeRange, itemsUrl } from "../src/stac";
import { sourceOf } from "../src/tiles";
import { isSystemTable, listVectorLayers } from "../src/vector";

vi.stubGlobal("document", { baseURI: "http://127.0.0.1/fields/" });
vi.stubGlobal("navigator", { onLine: true });

const answer = (body: unknown, status = 200) =>
  vi.spyOn(globalThis, "fetch").mockResolvedValue(new Response(JSON.stringify(body), { status }));
const signal = new AbortController().signal;

afterEach(() => {
  vi.restoreAllMocks();
});

test("a search asks for the newest of a collection, in whole days and a box", () => {
  const url = new URL(itemsUrl({ collection: "a b", from: "2020-05-01", to: "", box: [170, -20, -170, -10] }));
  expect(url.pathname).toBe("/fields/stac/search");
  expect(Object.fromEntries(url.searchParams)).toEqual({
    collections: "a b",
    limit: "50",
    sortby: "-datetime",
    datetime: "2020-05-01T00:00:00Z/..",
    bbox: "170.000000,-20.000000,-170.000000,-10.000000",
  });
});

test("the last day of a range is searched to its end", () => {
  expect(datetimeRange("2020-05-01", "2020-05-02")).toBe("2020-05-01T00:00:00Z/2020-05-02T23:59:59.999Z");
  expect(datetimeRange("", "")).toBeUndefined();
});

test("the next page is found at this origin", async () => {
  answer({ collections: [{ id: "a" }], links: [{ rel: "next", href: "https://public.example/stac/collections?token=2" }] });
  const page = await collectionsPage("http://127.0.0.1/fields/stac/collections", signal);
  expect(page.next).toBe("http://127.0.0.1/fields/stac/collections?token=2");
});

test("an error carries the service's words", async () => {
  answer({ title: "Busy", detail: "Try again." }, 503);
  await expect(collectionsPage("http://127.0.0.1/", signal)).rejects.toThrow("Busy: Try again.");
});

test("a service that does not answer is told as such", async () => {
  vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("Failed to fetch"));
  await expect(collectionsPage("http://127.0.0.1/", signal)).rejects.toThrow("The service cannot be reached.");
});

test("a mosaic and an item have their own tiles and values", () => {
  const render = { assets: ["red"], rescale: [[0, 1]] };
  const mosaic = { collection: "c", item: undefined, render };
  const one = { collection: "c", item: "i/1", render };
  expect(tileJsonUrl(mosaic, 1)).toBe(
    "http://127.0.0.1/fields/raster/collections/c/WebMercatorQuad/tilejson.json?assets=red&rescale=0%2C1&tilesize=256",
  );
  expect(tileJsonUrl(one, 2)).toBe(
    "http://127.0.0.1/fields/raster/collections/c/items/i%2F1/WebMercatorQuad/tilejson.json?assets=red&rescale=0%2C1&tilesize=512",
  );
  expect(pointUrl(one, 14.5, 46.25)).toBe(
    "http://127.0.0.1/fields/raster/collections/c/items/i%2F1/point/14.5000000,46.2500000?assets=red",
  );
  expect(legendUrl("rdylgn")).toBe("http://127.0.0.1/fields/raster/colorMaps/rdylgn?f=png&orientation=horizontal");
});

test("pixel values are read from an item's answer and from a mosaic's", () => {
  expect(readings({ values: [1, null], band_names: ["b1", "b2"], band_descriptions: ["red", ""] })).toEqual([
    { source: undefined, bands: [{ name: "red", value: 1 }, { name: "b2", value: null }] },
  ]);
  expect(readings({ assets: [{ name: "scene", values: [0.5] }] })).toEqual([
    { source: "scene", bands: [{ name: "1", value: 0.5 }] },
  ]);
});

test("a source takes of a TileJSON what it knows", () => {
  const tileJson = { tilejson: "3.0.0", attribution: "<b>", tiles: ["t"], minzoom: 0, bounds: [0, 1, 2, 3] as [number, number, number, number] };
  expect(sourceOf(tileJson)).toEqual({ tiles: ["t"], minzoom: 0, bounds: [0, 1, 2, 3] });
});

test("system tables are no layers", async () => {
  expect(isSystemTable("pgstac.items")).toBe(true);
  expect(isSystemTable("public.spatial_ref_sys")).toBe(true);
  expect(isSystemTable("public.fields")).toBe(false);
  answer({ collections: [{ id: "pgstac.items" }, { id: "farm.fields", title: "Fields" }, { id: "farm.zones" }] });
  const layers = await listVectorLayers(signal);
  expect(layers.map(({ id, title }) => [id, title])).toEqual([
    ["farm.fields", "Fields"],
    ["farm.zones", "farm.zones"],
  ]);
});
