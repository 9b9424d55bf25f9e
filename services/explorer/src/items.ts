/** The items of a collection: the search, the list, and the pages of it. */

import { button, el } from "./dom";
import { type Box, searchBox } from "./geo";
import { Notice } from "./notice";
import { getItem, type Item, itemsPage, itemsUrl, itemTime } from "./stac";
import { Task } from "./task";
import { text } from "./text";

interface Listeners {
  /** What is listed now, and how many items the collection holds if that is known. */
  onList: (items: Item[], total: number | undefined) => void;
  onPick: (id: string | undefined) => void;
  onHover: (id: string | undefined) => void;
  /** The selected item, known only now. */
  onFound: (item: Item) => void;
  viewBox: () => Box;
}

export class Items {
  readonly element: HTMLElement;
  readonly #listeners: Listeners;
  readonly #search = new Task();
  readonly #lookUp = new Task();
  readonly #notice = new Notice();
  readonly #list = el("ul", { className: "items" });
  readonly #count = el("p", { className: "count", role: "status" });
  readonly #more = button(text.more, () => this.#load(this.#next));
  readonly #from = el("input", { type: "date" });
  readonly #to = el("input", { type: "date" });
  readonly #inView = el("input", { type: "checkbox" });
  readonly #rows = new Map<string, HTMLButtonElement>();
  #collection = "";
  #entries: Item[] = [];
  #matched: number | undefined;
  #next: string | undefined;
  #hovered: string | undefined;
  #selected: string | undefined;
  /** The selected item stays listed even where the search does not find it. */
  #pinned: Item | undefined;

  constructor(listeners: Listeners) {
    this.#listeners = listeners;
    const form = el(
      "form",
      { className: "search", onsubmit: () => false },
      el("label", { className: "field" }, text.items.from, this.#from),
      el("label", { className: "field" }, text.items.to, this.#to),
      el("label", { className: "check" }, this.#inView, text.items.inView),
    );
    form.addEventListener("change", () => this.#start());
    const heading = el("div", { className: "line" }, el("h3", {}, text.items.heading), this.#count);
    this.element = el("section", { className: "part" }, heading, form, this.#list, this.#notice.element, this.#more);
  }

  open(collection: string): void {
    this.close();
    this.#collection = collection;
    this.#start();
  }

  close(): void {
    this.#search.cancel();
    this.#lookUp.cancel();
    this.#notice.clear();
    this.#entries = [];
    this.#matched = this.#next = this.#selected = this.#pinned = undefined;
    this.#collection = this.#from.value = this.#to.value = "";
    this.#inView.checked = false;
    this.#render();
  }

  /** Search again if the search depends on what the map shows. */
  viewMoved(): void {
    if (this.#collection && this.#inView.checked) this.#start();
  }

  select(id: string | undefined): void {
    this.#selected = id;
    const item = this.#listed().find((entry) => entry.id === id);
    if (item || id === undefined) this.#pin(item);
    else {
      this.#lookUp.run(
        async (signal) => this.#pin(await getItem(this.#collection, id, signal)),
        (message) => this.#notice.error(message, () => this.select(id)),
      );
    }
  }

  hover(id: string | undefined): void {
    if (id === this.#hovered) return;
    if (this.#hovered !== undefined) this.#rows.get(this.#hovered)?.classList.remove("hovered");
    if (id !== undefined) this.#rows.get(id)?.classList.add("hovered");
    this.#hovered = id;
  }

  #start(): void {
    const box = this.#inView.checked ? searchBox(this.#listeners.viewBox()) : undefined;
    const query = { collection: this.#collection, from: this.#from.value, to: this.#to.value, box };
    this.#load(itemsUrl(query), true);
  }

  #load(url: string | undefined, afresh = false): void {
    if (!url) return;
    this.#notice.loading();
    this.#more.hidden = true;
    this.#search.run(
      async (signal) => {
        const page = await itemsPage(url, signal);
        this.#entries = afresh ? page.entries : [...this.#entries, ...page.entries];
        this.#next = page.next;
        this.#matched = page.matched;
        this.#notice.clear();
        this.#render();
      },
      (message) => this.#notice.error(message, () => this.#load(url, afresh)),
    );
  }

  #pin(item: Item | undefined): void {
    this.#lookUp.cancel();
    const inPages = (pinned: Item | undefined) => !pinned || this.#entries.some(({ id }) => id === pinned.id);
    const sameList = inPages(this.#pinned) && inPages(item);
    this.#pinned = item;
    // A list made anew would lose the keyboard's place.
    if (sameList) this.#markSelected();
    else this.#render();
    if (item) this.#listeners.onFound(item);
  }

  #listed(): Item[] {
    const pinned = this.#pinned;
    return pinned && !this.#entries.some(({ id }) => id === pinned.id) ? [pinned, ...this.#entries] : this.#entries;
  }

  #render(): void {
    const items = this.#listed();
    this.#rows.clear();
    for (const item of items) this.#rows.set(item.id, this.#row(item));
    this.#list.replaceChildren(...[...this.#rows.values()].map((row) => el("li", {}, row)));
    this.#more.hidden = !this.#next;
    const complete = this.#next === undefined;
    this.#count.textContent = items.length > 0 ? text.items.count(this.#entries.length, this.#matched, complete) : "";
    const filtered = this.#from.value !== "" || this.#to.value !== "" || this.#inView.checked;
    if (this.#collection && items.length === 0) {
      this.#notice.show(filtered ? text.items.none : text.items.emptyCollection);
    }
    this.#markSelected();
    const total = this.#matched ?? (complete ? this.#entries.length : undefined);
    this.#listeners.onList(items, this.#collection && !filtered ? total : undefined);
  }

  #row(item: Item): HTMLButtonElement {
    const { onPick, onHover } = this.#listeners;
    const cloud = item.properties["eo:cloud_cover"];
    const row = el(
      "button",
      { type: "button", className: "item", onclick: () => onPick(item.id === this.#selected ? undefined : item.id) },
      el("span", { className: "when" }, itemTime(item)),
      cloud === undefined ? undefined : el("span", { className: "cloud", title: text.items.cloudTitle }, text.items.cloud(cloud)),
      el("span", { className: "id" }, item.properties.title || item.id),
    );
    for (const event of ["mouseenter", "focus"]) row.addEventListener(event, () => onHover(item.id));
    for (const event of ["mouseleave", "blur"]) row.addEventListener(event, () => onHover(undefined));
    return row;
  }

  #markSelected(): void {
    for (const [id, row] of this.#rows) row.ariaPressed = String(id === this.#selected);
    if (this.#selected !== undefined) this.#rows.get(this.#selected)?.scrollIntoView({ block: "nearest" });
  }
}
