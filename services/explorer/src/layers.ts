/** The list of vector layers, each with a switch. */

import type { Map as MapLibreMap, MapGeoJSONFeature, Point } from "maplibre-gl";
import { el } from "./dom";
import { Notice } from "./notice";
import type { Store } from "./state";
import { Task } from "./task";
import { text } from "./text";
import { drawVectorLayer, listVectorLayers, removeVectorLayer, sourceIdOf, type VectorLayer, vectorFeaturesAt } from "./vector";

interface Entry {
  layer: VectorLayer;
  box: HTMLInputElement;
  notice: Notice;
  task: Task;
  on: boolean;
}

export class Layers {
  readonly element: HTMLElement;
  readonly #map: MapLibreMap;
  readonly #store: Store;
  readonly #task = new Task();
  readonly #notice = new Notice();
  readonly #list = el("ul", { className: "layers" });
  #entries: Entry[] = [];

  constructor(map: MapLibreMap, store: Store) {
    this.#map = map;
    this.#store = store;
    const heading = el("h2", { className: "hushed" }, text.layers.heading);
    this.element = el("div", {}, heading, this.#list, this.#notice.element);
    store.subscribe(() => this.#apply());
    this.#load();
  }

  /** The features under a click, each with the title of its layer. */
  at(point: Point): { title: string; feature: MapGeoJSONFeature }[] {
    const layers = this.#entries.filter(({ on }) => on).map(({ layer }) => layer);
    const titles = new Map(layers.map((layer) => [sourceIdOf(layer), layer.title]));
    return vectorFeaturesAt(this.#map, layers, point).map((feature) => ({ title: titles.get(feature.source) ?? "", feature }));
  }

  /** Say under a layer that some of its tiles did not come. */
  tilesFailed(source: string, reason: string): void {
    const entry = this.#entries.find(({ layer }) => sourceIdOf(layer) === source);
    entry?.notice.error(text.errors.tiles(reason), () => {
      this.#switch(entry, false);
      this.#switch(entry, true);
    });
  }

  #load(): void {
    this.#notice.loading();
    this.#task.run(
      async (signal) => {
        this.#entries = (await listVectorLayers(signal)).map((layer) => this.#entry(layer));
        this.#list.replaceChildren(...this.#entries.map(row));
        if (this.#entries.length > 0) this.#notice.clear();
        else this.#notice.show(text.layers.none);
        this.#apply();
      },
      (message) => this.#notice.error(message, () => this.#load()),
    );
  }

  #entry(layer: VectorLayer): Entry {
    const box = el("input", { type: "checkbox", onchange: () => this.#toggle(layer.id, box.checked) });
    return { layer, box, notice: new Notice(), task: new Task(), on: false };
  }

  #toggle(id: string, on: boolean): void {
    const others = this.#store.state.layers.filter((other) => other !== id);
    this.#store.update({ layers: on ? [...others, id] : others });
  }

  #apply(): void {
    for (const entry of this.#entries) {
      const wanted = this.#store.state.layers.includes(entry.layer.id);
      entry.box.checked = wanted;
      if (wanted !== entry.on) this.#switch(entry, wanted);
    }
  }

  #switch(entry: Entry, on: boolean): void {
    entry.on = on;
    entry.notice.clear();
    if (on) {
      entry.task.run(
        (signal) => drawVectorLayer(this.#map, entry.layer, signal),
        (message) => entry.notice.error(message, () => this.#switch(entry, true)),
      );
    } else {
      entry.task.cancel();
      removeVectorLayer(this.#map, entry.layer);
    }
  }
}

function row({ layer, box, notice }: Entry): HTMLElement {
  const swatch = el("span", { className: "swatch" });
  swatch.style.background = layer.colour;
  return el("li", {}, el("label", { className: "check", title: layer.id }, box, swatch, layer.title), notice.element);
}
