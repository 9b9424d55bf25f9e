import { expect, test } from "vitest";
import { legendOf, pointParameters, tileParameters } from "../src/renders";

test("a true colour look repeats assets and ranges, in order", () => {
  const parameters = tileParameters({
    title: "True colour",
    assets: ["red", "green", "blue"],
    rescale: [
      [0, 3000],
      [0, 2500],
      [0, 2000],
    ],
  });
  expect([...parameters]).toEqual([
    ["assets", "red"],
    ["assets", "green"],
    ["assets", "blue"],
    ["rescale", "0,3000"],
    ["rescale", "0,2500"],
    ["rescale", "0,2000"],
  ]);
});

test("an index keeps its expression, nodata 0 and colormap", () => {
  const parameters = tileParameters({
    assets: ["nir", "red"],
    expression: "(b1-b2)/(b1+b2)",
    nodata: 0,
    rescale: [[-0.2, 0.9]],
    colormap_name: "rdylgn",
  });
  expect(parameters.getAll("assets")).toEqual(["nir", "red"]);
  expect(parameters.get("expression")).toBe("(b1-b2)/(b1+b2)");
  expect(parameters.get("nodata")).toBe("0");
  expect(parameters.get("rescale")).toBe("-0.2,0.9");
  expect(parameters.get("colormap_name")).toBe("rdylgn");
});

test("band indexes go with the asset, as TiTiler 2 reads them", () => {
  expect(tileParameters({ assets: ["image"], bidx: [4, 1, 2] }).getAll("assets")).toEqual(["image|bidx=4,1,2"]);
  expect(tileParameters({ assets: ["image|bidx=1"], bidx: 3 }).getAll("assets")).toEqual(["image|bidx=1"]);
});

test("objects become JSON, and a single asset or a written range is taken as it is", () => {
  const parameters = tileParameters({ assets: "data", rescale: ["0,255"], colormap: { "1": [0, 0, 0, 255] }, algorithm_params: { b: 1 } });
  expect(parameters.getAll("assets")).toEqual(["data"]);
  expect(parameters.get("rescale")).toBe("0,255");
  expect(parameters.get("colormap")).toBe('{"1":[0,0,0,255]}');
  expect(parameters.get("algorithm_params")).toBe('{"b":1}');
});

test("every other parameter keeps its name, and the title is no parameter", () => {
  const parameters = tileParameters({
    title: "Hills",
    color_formula: "gamma RGB 1.2",
    resampling: "bilinear",
    reproject: "cubic",
    unscale: true,
    asset_as_band: true,
    algorithm: "hillshade",
  });
  expect(Object.fromEntries(parameters)).toEqual({
    color_formula: "gamma RGB 1.2",
    resampling: "bilinear",
    reproject: "cubic",
    unscale: "true",
    asset_as_band: "true",
    algorithm: "hillshade",
  });
});

test("a pixel's value is read without colours", () => {
  const render = { assets: ["ndvi"], nodata: "nan", unscale: true, rescale: [[0, 1]], colormap_name: "greens", color_formula: "gamma R 2" };
  expect(pointParameters(render).toString()).toBe("assets=ndvi&nodata=nan&unscale=true");
});

test("only one range with a named colormap has a legend", () => {
  expect(legendOf({ rescale: [[-1, 1]], colormap_name: "rdylgn" })).toEqual({ colormap: "rdylgn", low: -1, high: 1 });
  expect(legendOf({ rescale: ["0,8"], colormap_name: "greens" })).toEqual({ colormap: "greens", low: 0, high: 8 });
  expect(legendOf({ rescale: [[0, 1]] })).toBeUndefined();
  expect(legendOf({ colormap_name: "greens" })).toBeUndefined();
  expect(legendOf({ colormap_name: "greens", rescale: [[0, 1], [0, 1]] })).toBeUndefined();
});
