/** One collection, opened: what it is, with room for its imagery and its items. */

import { button, el } from "./dom";
import { Notice } from "./notice";
import { type Collection, collectionTime } from "./stac";
import { text } from "./text";

export class CollectionView {
  readonly element: HTMLElement;
  readonly notice = new Notice();
  readonly #title = el("h2", { tabIndex: -1 });
  readonly #about = el("div");
  readonly #countLabel = el("dt", {}, text.collections.items);
  readonly #count = el("dd");
  readonly #content: HTMLElement;

  constructor(onBack: () => void, ...parts: HTMLElement[]) {
    this.#content = el("div", {}, this.#title, this.#about, ...parts);
    const back = button(`‹ ${text.collections.back}`, onBack, "link back");
    this.element = el("div", { hidden: true }, back, this.notice.element, this.#content);
  }

  waiting(): void {
    this.count(undefined);
    this.#content.hidden = true;
    this.notice.loading();
  }

  failed(message: string, retry: () => void): void {
    this.#content.hidden = true;
    this.notice.error(message, retry);
  }

  show(collection: Collection): void {
    this.notice.clear();
    this.#content.hidden = false;
    this.#title.textContent = collection.title || collection.id;
    this.#about.replaceChildren(
      collection.description ? el("p", { className: "description" }, collection.description) : "",
      el(
        "dl",
        { className: "facts" },
        ...[el("dt", {}, text.collections.time), el("dd", {}, collectionTime(collection) ?? text.collections.unknown)],
        ...[el("dt", {}, text.collections.licence), el("dd", {}, collection.license || text.collections.unknown)],
        ...[this.#countLabel, this.#count],
      ),
    );
  }

  /** How many items there are in all, if a search has told. */
  count(total: number | undefined): void {
    this.#countLabel.hidden = this.#count.hidden = total === undefined;
    this.#count.textContent = total === undefined ? "" : text.count(total);
  }

  focus(): void {
    this.#title.focus();
  }
}
