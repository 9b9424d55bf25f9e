/** What a shared link must restore, kept in the URL's hash. */

export interface View {
  readonly zoom: number;
  readonly lat: number;
  readonly lon: number;
}

export interface State {
  readonly view: View | undefined;
  readonly collection: string | undefined;
  readonly item: string | undefined;
  /** The name of a render; undefined means the collection's first. */
  readonly render: string | undefined;
  /** The ids of the vector layers that are on. */
  readonly layers: readonly string[];
}

export function parseHash(hash: string): State {
  const parameters = new URLSearchParams(hash.replace(/^#/, ""));
  const collection = parameters.get("collection") || undefined;
  return {
    view: parseView(parameters.get("view")),
    collection,
    item: (collection && parameters.get("item")) || undefined,
    render: (collection && parameters.get("render")) || undefined,
    layers: [...new Set(parameters.getAll("layer"))],
  };
}

export function formatHash(state: State): string {
  const parameters = new URLSearchParams();
  if (state.view) parameters.set("view", formatView(state.view));
  for (const key of ["collection", "item", "render"] as const) {
    if (state[key]) parameters.set(key, state[key]);
  }
  for (const layer of state.layers) parameters.append("layer", layer);
  return `#${parameters.toString().replaceAll("%2F", "/")}`;
}

function parseView(value: string | null): View | undefined {
  const numbers = value?.split("/").map(Number);
  if (numbers?.length !== 3 || !numbers.every(Number.isFinite)) return undefined;
  const [zoom, lat, lon] = numbers as [number, number, number];
  return Math.abs(lat) <= 90 && zoom >= 0 ? { zoom, lat, lon } : undefined;
}

function formatView({ zoom, lat, lon }: View): string {
  return [zoom.toFixed(2), lat.toFixed(5), lon.toFixed(5)].map(Number).join("/");
}

type Listener = (state: State, previous: State) => void;

/** The page's state: changes go to the address bar and to all who listen, and so does the Back button. */
export class Store {
  #state = parseHash(location.hash);
  #listeners: Listener[] = [];

  constructor() {
    addEventListener("popstate", () => this.#apply(parseHash(location.hash)));
  }

  get state(): State {
    return this.#state;
  }

  subscribe(listener: Listener): void {
    this.#listeners.push(listener);
  }

  /** Change something; "push" makes it a step that Back undoes. */
  update(change: Partial<State>, step: "push" | "replace" = "push"): void {
    const next = { ...this.#state, ...change };
    const hash = formatHash(next);
    if (hash === formatHash(this.#state)) return;
    if (step === "push") history.pushState(null, "", hash);
    else history.replaceState(null, "", hash);
    this.#apply(next);
  }

  #apply(next: State): void {
    const previous = this.#state;
    this.#state = next;
    for (const listener of this.#listeners) listener(next, previous);
  }
}
