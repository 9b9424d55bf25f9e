/** What a click on the map tells: attributes of vector features, pixel values, the items that lie here. */

import { type Map, type MapMouseEvent, type PaddingOptions, Popup } from "maplibre-gl";
import { el } from "./dom";
import type { Footprints } from "./footprints";
import type { Imagery } from "./imagery";
import type { Layers } from "./layers";
import { attributesPart, itemsPart, pixelPart } from "./popup";
import { readPixel, type Target } from "./raster";
import type { Store } from "./state";
import { Task } from "./task";
import { text } from "./text";

const MOST_FEATURES = 5;
const MOST_ITEMS = 8;

interface Shown {
  store: Store;
  footprints: Footprints;
  imagery: Imagery;
  layers: Layers;
  /** How much of the map is covered, at its edges. */
  covered: () => PaddingOptions;
}

export function inspectOnClick(map: Map, { store, footprints, imagery, layers, covered }: Shown): void {
  const reading = new Task();
  const popup = new Popup({ maxWidth: "min(320px, 86vw)", className: "facts-popup" });
  popup.on("close", () => reading.cancel());
  map.getContainer().addEventListener("keydown", ({ key }) => {
    if (key === "Escape") popup.remove();
  });
  store.subscribe((state, previous) => {
    if (state.collection !== previous.collection || state.item !== previous.item) popup.remove();
  });

  map.on("click", (event) => {
    const features = layers.at(event.point).slice(0, MOST_FEATURES);
    const items = footprints.at(event.point);
    const target = imagery.visibleTarget;
    popup.remove();
    if (features.length === 0 && !target) {
      if (items.length > 0) store.update({ item: following(items, store.state.item) });
      return;
    }
    const others = items.filter((id) => id !== store.state.item).slice(0, MOST_ITEMS);
    const parts = features.map(({ title, feature }) => attributesPart(title, feature.properties));
    if (target) parts.push(pixelValues(target, event, reading));
    if (others.length > 0) parts.push(itemsPart(others, (item) => store.update({ item })));
    const place = el("p", { className: "place" }, text.coordinates(event.lngLat.wrap().lng, event.lngLat.lat));
    popup.setPadding(covered());
    popup.setLngLat(event.lngLat).setDOMContent(el("div", {}, ...parts, place)).addTo(map);
  });
}

/** Where footprints lie on one another, each further click goes one deeper. */
function following(items: string[], selected: string | undefined): string | undefined {
  const index = selected === undefined ? -1 : items.indexOf(selected);
  return items[(index + 1) % items.length];
}

function pixelValues(target: Target, { lngLat }: MapMouseEvent, reading: Task): HTMLElement {
  const { element, show, fail } = pixelPart();
  const { lng, lat } = lngLat.wrap();
  reading.run(async (signal) => show(await readPixel(target, lng, lat, signal)), fail);
  return element;
}
