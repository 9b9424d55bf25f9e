/** The quiet ground under everything: land, sea and borders, from data that comes with the page. */

import type { MultiPolygon } from "geojson";
import type { Map, StyleSpecification } from "maplibre-gl";
import { feature, mesh } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import atlasUrl from "world-atlas/countries-50m.json?url";
import { flattenRing } from "./antimeridian";
import { getJson } from "./api";

const colours = {
  light: { sea: "#dfe7e6", land: "#f4f1e8", border: "#d3cdbd" },
  dark: { sea: "#1a2224", land: "#252c29", border: "#3a433d" },
};

/**
 * Empty layers that hold the order: whatever belongs to a slot is added just below it.
 * From the ground up: land, imagery, vector layers, footprints.
 */
export const slots = { land: "slot-land", imagery: "slot-imagery", vectors: "slot-vectors", footprints: "slot-footprints" };

export const baseStyle: StyleSpecification = {
  version: 8,
  state: {
    sea: { default: colours.light.sea },
    land: { default: colours.light.land },
    border: { default: colours.light.border },
  },
  sources: {},
  layers: [
    { id: "sea", type: "background", paint: { "background-color": ["global-state", "sea"] } },
    ...Object.values(slots).map((id) => ({ id, type: "background" as const, layout: { visibility: "none" as const } })),
  ],
};

/** Dress the ground in the reader's colour scheme, now and when it changes. */
export function followColourScheme(map: Map): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const dress = () => {
    for (const [name, colour] of Object.entries(dark.matches ? colours.dark : colours.light)) {
      map.setGlobalStateProperty(name, colour);
    }
  };
  dress();
  dark.addEventListener("change", dress);
}

type Atlas = Topology<{ countries: GeometryCollection; land: GeometryCollection }>;

export async function addLand(map: Map, signal: AbortSignal): Promise<void> {
  const atlas = await getJson<Atlas>(new URL(atlasUrl, document.baseURI).href, signal);
    // Coast and borders are coarse (1:50 million): beyond zoom 8 there is nothing more to see in them.
  const options = { type: "geojson", maxzoom: 8 } as const;
  map.addSource("land", { ...options, data: flatLand(atlas) });
  map.addSource("borders", { ...options, data: mesh(atlas, atlas.objects.countries, (one, other) => one !== other) });
  map.addLayer({ id: "land", type: "fill", source: "land", paint: { "fill-color": ["global-state", "land"] } }, slots.land);
  map.addLayer(
    { id: "borders", type: "line", source: "borders", paint: { "line-color": ["global-state", "border"], "line-width": 0.8 } },
    slots.land,
  );
}

function flatLand(atlas: Atlas): MultiPolygon {
  const polygons = feature(atlas, atlas.objects.land).features.flatMap(({ geometry }) => {
    if (geometry.type === "MultiPolygon") return geometry.coordinates;
    return geometry.type === "Polygon" ? [geometry.coordinates] : [];
  });
  return { type: "MultiPolygon", coordinates: polygons.map((rings) => rings.map(flattenRing)) };
}
