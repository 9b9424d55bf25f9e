/** The list of the catalog's collections. */

import { button, el } from "./dom";
import { Notice } from "./notice";
import { type Collection, collectionTime, collectionsPage, collectionsUrl, getCollection } from "./stac";
import { Task } from "./task";
import { text } from "./text";

export class Collections {
  readonly element: HTMLElement;
  readonly #known = new Map<string, Collection>();
  readonly #list = el("ul", { className: "cards" });
  readonly #notice = new Notice();
  readonly #more = button(text.more, () => this.#load(this.#next));
  readonly #task = new Task();
  readonly #onPick: (collection: Collection) => void;
  #next: string | undefined = collectionsUrl();

  constructor(onPick: (collection: Collection) => void) {
    this.#onPick = onPick;
    this.#more.hidden = true;
    const heading = el("h2", { className: "hushed" }, text.collections.heading);
    this.element = el("div", {}, heading, this.#list, this.#notice.element, this.#more);
    this.#load(this.#next);
  }

  /** One collection, whether or not the list has come to it. */
  async get(id: string, signal: AbortSignal): Promise<Collection> {
    const collection = this.#known.get(id) ?? (await getCollection(id, signal));
    this.#known.set(id, collection);
    return collection;
  }

  focus(id: string): void {
    const cards = [...this.#list.querySelectorAll("button")];
    (cards.find((card) => card.dataset["id"] === id) ?? cards[0])?.focus();
  }

  #load(url: string | undefined): void {
    if (!url) return;
    this.#notice.loading();
    this.#more.hidden = true;
    this.#task.run(
      async (signal) => {
        const { entries, next } = await collectionsPage(url, signal);
        this.#next = next;
        for (const collection of entries) this.#known.set(collection.id, collection);
        this.#list.append(...entries.map((collection) => el("li", {}, this.#card(collection))));
        this.#more.hidden = !next;
        if (this.#list.childElementCount > 0) this.#notice.clear();
        else this.#notice.show(text.collections.empty, el("code", {}, text.collections.emptyCommand));
      },
      (message) => this.#notice.error(message, () => this.#load(url)),
    );
  }

  #card(collection: Collection): HTMLButtonElement {
    const facts = [collectionTime(collection), collection.license].filter(Boolean).join(" · ");
    const card = el(
      "button",
      { type: "button", className: "card", onclick: () => this.#onPick(collection) },
      el("strong", {}, collection.title || collection.id),
      collection.description ? el("span", { className: "summary" }, collection.description) : undefined,
      facts ? el("span", { className: "facts" }, facts) : undefined,
    );
    card.dataset["id"] = collection.id;
    return card;
  }
}
