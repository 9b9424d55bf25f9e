import { expect, test } from "vitest";
import { localUrl, path, problemMessage, serviceUrl } from "../src/api";

const PAGE = "https://fields.example/maps/index.html#collection=a";

test("services are beside the page, under any prefix", () => {
  expect(serviceUrl("stac", "collections", {}, PAGE)).toBe("https://fields.example/maps/stac/collections");
  expect(serviceUrl("stac", "search", { limit: "5" }, "http://127.0.0.1:8080/")).toBe("http://127.0.0.1:8080/stac/search?limit=5");
});

test("ids may hold any character", () => {
  expect(path("collections", "a/b ?#")).toBe("collections/a%2Fb%20%3F%23");
});

test("a link with another public name comes back to this origin", () => {
  const next = "https://public.example/api/stac/search?token=next:raster/1";
  expect(localUrl(next, "stac", PAGE)).toBe("https://fields.example/maps/stac/search?token=next:raster/1");
});

test("a tile template keeps its braces, and a collection may be called as the service", () => {
  const tiles = "http://127.0.0.1:8080/raster/collections/raster/tiles/{z}/{x}/{y}?assets=a";
  expect(localUrl(tiles, "raster", PAGE)).toBe("https://fields.example/maps/raster/collections/raster/tiles/{z}/{x}/{y}?assets=a");
});

test("a problem is told by its title and detail", () => {
  expect(problemMessage(400, '{"title":"Bad date","detail":"Use RFC 3339."}')).toBe("Bad date: Use RFC 3339.");
  expect(problemMessage(404, '{"detail":"No such item"}')).toBe("No such item");
  expect(problemMessage(400, '{"code":"BadRequest","description":"limit is too high"}')).toBe("limit is too high");
});

test("an answer that is no problem document is told by its status", () => {
  expect(problemMessage(502, "<html>")).toBe("The service answered with status 502.");
  expect(problemMessage(422, '{"detail":[{"loc":["query"]}]}')).toBe("The service answered with status 422.");
});
