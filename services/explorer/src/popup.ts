/** What a popup holds, built from data as text and never as HTML. */

import { button, el } from "./dom";
import type { PixelReading } from "./raster";
import { text } from "./text";

export function attributesPart(title: string, properties: Record<string, unknown>): HTMLElement {
  const rows = Object.entries(properties).filter(([, value]) => value !== null && value !== undefined);
  const content =
    rows.length > 0
      ? table(text.popup.attribute, text.popup.value, rows.map(([name, value]) => [name, shown(value)]))
      : el("p", {}, text.popup.noAttributes);
  return part(title, content);
}

/** Filled in when the service has answered. */
export function pixelPart(): { element: HTMLElement; show: (found: PixelReading[]) => void; fail: (message: string) => void } {
  const content = el("div", { role: "status" }, text.popup.reading);
  return {
    element: part(text.popup.pixel, content),
    show: (found) => content.replaceChildren(...(found.length > 0 ? found.map(pixelTable) : [text.popup.noPixel])),
    fail: (message) => content.replaceChildren(message),
  };
}

export function itemsPart(ids: string[], onPick: (id: string) => void): HTMLElement {
  const rows = ids.map((id) => el("li", {}, button(id, () => onPick(id), "link")));
  return part(text.popup.itemsHere, el("ul", {}, ...rows));
}

function pixelTable({ source, bands }: PixelReading): HTMLElement {
  const rows = bands.map(({ name, value }): [string, string] => [name, value === null ? "–" : text.value(value)]);
  return table(text.popup.band, text.popup.value, rows, source);
}

function table(left: string, right: string, rows: [string, string][], caption?: string): HTMLTableElement {
  const head = el("tr", {}, el("th", { scope: "col" }, left), el("th", { scope: "col" }, right));
  const body = rows.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value)));
  return el(
    "table",
    {},
    caption === undefined ? undefined : el("caption", {}, caption),
    el("thead", {}, head),
    el("tbody", {}, ...body),
  );
}

function part(title: string, content: HTMLElement): HTMLElement {
  return el("section", {}, el("h3", {}, title), content);
}

function shown(value: unknown): string {
  if (typeof value === "number") return text.value(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
