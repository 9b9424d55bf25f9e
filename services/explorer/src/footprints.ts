/** The outlines of the listed items. */

import type { GeoJSONSource, Map, PointLike } from "maplibre-gl";
import { slots } from "./basemap";
import type { Item } from "./stac";

const SOURCE = "footprints";
const FILL = "footprints-fill";
const AMBER = "#c4841d";
const RUST = "#b3401f";

export class Footprints {
  readonly #map: Map;
  #hovered: string | undefined;
  #selected: string | undefined;

  constructor(map: Map, onHover: (id: string | undefined) => void) {
    this.#map = map;
    map.addSource(SOURCE, { type: "geojson", data: collectionOf([]), promoteId: "id" });
    map.addLayer(
      {
        id: FILL,
        type: "fill",
        source: SOURCE,
        // Many footprints may lie on one another: only the one under the pointer is filled.
        paint: { "fill-color": AMBER, "fill-opacity": ["case", ["boolean", ["feature-state", "hovered"], false], 0.22, 0] },
      },
      slots.footprints,
    );
    map.addLayer(
      {
        id: "footprints-line",
        type: "line",
        source: SOURCE,
        layout: { "line-join": "round" },
        paint: {
          "line-color": ["case", ["boolean", ["feature-state", "selected"], false], RUST, AMBER],
          "line-width": ["case", ["boolean", ["feature-state", "selected"], false], 3, 1.2],
          "line-opacity": ["case", ["boolean", ["feature-state", "selected"], false], 1, 0.75],
        },
      },
      slots.footprints,
    );
    map.on("mousemove", (event) => onHover(this.at(event.point)[0]));
    map.on("mouseout", () => onHover(undefined));
  }

  show(items: Item[]): void {
    this.#map.getSource<GeoJSONSource>(SOURCE)?.setData(collectionOf(items));
  }

  hover(id: string | undefined): void {
    this.#hovered = this.#mark("hovered", this.#hovered, id);
  }

  select(id: string | undefined): void {
    this.#selected = this.#mark("selected", this.#selected, id);
  }

  /** The ids of the items at a place on the screen, uppermost first. */
  at(point: PointLike): string[] {
    const found = this.#map.queryRenderedFeatures(point, { layers: [FILL] });
    return [...new Set(found.map(({ id }) => String(id)))];
  }

  #mark(state: "hovered" | "selected", before: string | undefined, after: string | undefined): string | undefined {
    if (before === after) return after;
    if (before !== undefined) this.#map.setFeatureState({ source: SOURCE, id: before }, { [state]: false });
    if (after !== undefined) this.#map.setFeatureState({ source: SOURCE, id: after }, { [state]: true });
    return after;
  }
}

function collectionOf(items: Item[]): GeoJSON.FeatureCollection {
  const features = items.flatMap(({ id, geometry }) =>
    geometry ? [{ type: "Feature" as const, geometry, properties: { id } }] : [],
  );
  return { type: "FeatureCollection", features };
}
