/** What the reader sees and sets of a collection's imagery: which look, how strong, its legend. */

import type { Map } from "maplibre-gl";
import { button, el } from "./dom";
import { Notice } from "./notice";
import { legendUrl, RasterLayer, type Target } from "./raster";
import { legendOf, type Render } from "./renders";
import type { Collection } from "./stac";
import { Task } from "./task";
import { text } from "./text";

interface Listeners {
  onRender: (name: string) => void;
  onMosaic: () => void;
  /** Called with the name of the look once it is on the map, and with "" when none is. */
  onDrawn: (name: string) => void;
}

export class Imagery {
  readonly element: HTMLElement;
  readonly #layer: RasterLayer;
  readonly #task = new Task();
  readonly #notice = new Notice();
  readonly #controls: HTMLElement;
  readonly #look = el("select", { id: "look" });
  readonly #shown = el("input", { type: "checkbox", checked: true });
  readonly #opacity = el("input", { type: "range", min: "0", max: "100", step: "5", value: "100" });
  readonly #legend = el("figure", { className: "legend", hidden: true });
  readonly #scope = el("p", { className: "scope" });
  readonly #listeners: Listeners;
  #drawn: { target: Target; name: string } | undefined;

  constructor(map: Map, listeners: Listeners) {
    this.#layer = new RasterLayer(map);
    this.#listeners = listeners;
    this.#look.addEventListener("change", () => listeners.onRender(this.#look.value));
    for (const input of [this.#shown, this.#opacity]) input.addEventListener("input", () => this.#style());
    this.#controls = el(
      "div",
      { className: "controls" },
      el("label", { className: "field" }, text.imagery.look, this.#look),
      el("label", { className: "check" }, this.#shown, text.imagery.show),
      el("label", { className: "field" }, text.imagery.opacity, this.#opacity),
      this.#legend,
      this.#scope,
    );
    const heading = el("h3", {}, text.imagery.heading);
    this.element = el("section", { className: "part" }, heading, this.#controls, this.#notice.element);
  }

  /** What is on the map for the eye to see, if anything. */
  get visibleTarget(): Target | undefined {
    return this.#shown.checked ? this.#drawn?.target : undefined;
  }

  /** Draw a look of a collection, by default its first, for all of it or one item. */
  show(collection: Collection, item: string | undefined, name: string | undefined): void {
    const renders = Object.entries(collection.renders ?? {});
    const [chosen, render] = renders.find(([key]) => key === name) ?? renders[0] ?? [];
    this.#controls.hidden = !render;
    if (chosen === undefined || !render) {
      this.clear();
      this.#notice.show(text.imagery.none);
      return;
    }
    this.#look.replaceChildren(...renders.map(([key, { title }]) => el("option", { value: key }, title || key)));
    this.#look.value = chosen;
    this.#showLegend(render);
    this.#showScope(item);
    this.#draw({ collection: collection.id, item, render }, chosen);
  }

  clear(): void {
    this.#task.cancel();
    this.#notice.clear();
    this.#layer.remove();
    this.#drawn = undefined;
    this.#listeners.onDrawn("");
  }

  /** Say that some tiles did not come; the others stay. */
  tilesFailed(reason: string): void {
    const drawn = this.#drawn;
    if (drawn) this.#notice.error(text.errors.tiles(reason), () => this.#draw(drawn.target, drawn.name));
  }

  #draw(target: Target, name: string): void {
    this.#notice.clear();
    this.#listeners.onDrawn("");
    this.#task.run(
      async (signal) => {
        await this.#layer.show(target, signal);
        this.#drawn = { target, name };
        this.#listeners.onDrawn(name);
      },
      (message) => {
        this.clear();
        this.#notice.error(message, () => this.#draw(target, name));
      },
    );
  }

  #style(): void {
    this.#opacity.disabled = !this.#shown.checked;
    this.#layer.style(this.#opacity.valueAsNumber / 100, this.#shown.checked);
  }

  #showLegend(render: Render): void {
    const legend = legendOf(render);
    this.#legend.hidden = !legend;
    if (!legend) return;
    const image = el("img", { src: legendUrl(legend.colormap), alt: text.imagery.legend(legend.colormap) });
    const ends = [legend.low, legend.high].map((end) => el("span", {}, text.value(end)));
    this.#legend.replaceChildren(image, el("figcaption", {}, ...ends));
  }

  #showScope(item: string | undefined): void {
    if (item === undefined) this.#scope.replaceChildren(text.imagery.mosaic);
    else {
      const back = button(text.imagery.toMosaic, this.#listeners.onMosaic, "link");
      this.#scope.replaceChildren(text.imagery.oneItem, el("b", {}, item), " ", back);
    }
  }
}
