/** The side panel: a column beside the map on wide screens, a sheet at the bottom of narrow ones. */

import type { PaddingOptions } from "maplibre-gl";
import { el } from "./dom";
import { text } from "./text";

const MARGIN = 32;

export class Panel {
  readonly catalog = el("section", { id: "tab-catalog", role: "tabpanel", className: "tab" });
  readonly layers = el("section", { id: "tab-layers", role: "tabpanel", className: "tab", hidden: true });
  readonly element: HTMLElement;
  readonly #toggle = el("button", { type: "button", className: "toggle", onclick: () => this.#fold(!this.#folded) });
  #folded = false;

  constructor() {
    const body = el(
      "div",
      { id: "panel-body", className: "panel-body" },
      tabs([
        { label: text.tabs.catalog, content: this.catalog },
        { label: text.tabs.layers, content: this.layers },
      ]),
      offlineNotice(),
      this.catalog,
      this.layers,
    );
    this.#toggle.setAttribute("aria-controls", body.id);
    const head = el("header", { className: "panel-head" }, el("h1", {}, mark(), text.title), this.#toggle);
    this.element = el("aside", { className: "panel", ariaLabel: text.panel }, head, body);
    this.#fold(false);
  }

  /** How much of the map the panel covers, as padding for a view that must be seen whole. */
  padding(map: HTMLElement): PaddingOptions {
    const [panel, whole] = [this.element.getBoundingClientRect(), map.getBoundingClientRect()];
    const even = { top: MARGIN, right: MARGIN, bottom: MARGIN, left: MARGIN };
    if (panel.width > whole.width * 0.7) return { ...even, bottom: whole.bottom - panel.top + MARGIN };
    return this.#folded ? even : { ...even, left: panel.right - whole.left + MARGIN };
  }

  #fold(folded: boolean): void {
    this.#folded = folded;
    this.element.classList.toggle("folded", folded);
    this.#toggle.ariaExpanded = String(!folded);
    this.#toggle.ariaLabel = folded ? text.openPanel : text.closePanel;
  }
}

function mark(): HTMLImageElement {
  return el("img", { src: new URL("favicon.svg", document.baseURI).href, alt: "", width: 26, height: 26 });
}

function offlineNotice(): HTMLElement {
  const notice = el("p", { className: "notice notice-error", role: "status", hidden: navigator.onLine }, text.offline);
  for (const event of ["online", "offline"]) addEventListener(event, () => (notice.hidden = navigator.onLine));
  return notice;
}

/** A tab list after the ARIA pattern: one stop for Tab, arrows move between the tabs. */
function tabs(entries: { label: string; content: HTMLElement }[]): HTMLElement {
  const handles = entries.map(({ label, content }, index) => {
    const handle = el("button", { type: "button", role: "tab", id: `${content.id}-handle`, onclick: () => open(index) }, label);
    handle.setAttribute("aria-controls", content.id);
    content.setAttribute("aria-labelledby", handle.id);
    return handle;
  });
  const open = (chosen: number) => {
    for (const [index, { content }] of entries.entries()) {
      content.hidden = index !== chosen;
      const handle = handles[index];
      if (!handle) continue;
      handle.ariaSelected = String(index === chosen);
      handle.tabIndex = index === chosen ? 0 : -1;
    }
  };
  const list = el("div", { role: "tablist", className: "tabs", ariaLabel: text.panel }, ...handles);
  list.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step === undefined) return;
    const from = handles.findIndex((handle) => handle.ariaSelected === "true");
    const to = (from + step + handles.length) % handles.length;
    open(to);
    handles[to]?.focus();
  });
  open(0);
  return list;
}
