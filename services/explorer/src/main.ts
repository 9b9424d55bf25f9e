import "maplibre-gl/dist/maplibre-gl.css";
import "./style.css";
import type { Map } from "maplibre-gl";
import { addLand } from "./basemap";
import { CollectionView } from "./collection";
import { Collections } from "./collections";
import { el } from "./dom";
import { Footprints } from "./footprints";
import { flatBox } from "./geo";
import { Imagery } from "./imagery";
import { inspectOnClick } from "./inspect";
import { Items } from "./items";
import { Layers } from "./layers";
import { boxOf, fitBox, followView, isSeen, onTileError, openMap } from "./map";
import { Notice } from "./notice";
import { Panel } from "./panel";
import { RASTER_SOURCE } from "./raster";
import { type Collection, collectionBox } from "./stac";
import { type State, Store } from "./state";
import { Task } from "./task";
import { text } from "./text";

const store = new Store();
const panel = new Panel();
const mapElement = el("div", { className: "map" });
const mapNotice = new Notice();
const main = el("main", { ariaLabel: text.map }, mapElement, mapNotice.element);
main.dataset["collection"] = main.dataset["render"] = "";
document.body.append(panel.element, main);

openMap(mapElement, store.state.view).then(start, () => mapNotice.error(text.errors.webgl));

function start(map: Map): void {
  const opening = new Task();
  const land = new Task();
  const loadLand = () =>
    land.run(
      async (signal) => {
        await addLand(map, signal);
        mapNotice.clear();
      },
      () => mapNotice.error(text.errors.land, loadLand),
    );
  loadLand();

  const hover = (id: string | undefined) => {
    footprints.hover(id);
    items.hover(id);
    map.getCanvas().style.cursor = id === undefined ? "" : "pointer";
  };
  const footprints = new Footprints(map, hover);
  const imagery = new Imagery(map, {
    onRender: (render) => store.update({ render }),
    onMosaic: () => store.update({ item: undefined }),
    onDrawn: (name) => (main.dataset["render"] = name),
  });
  const items = new Items({
    onList: (listed, total) => {
      footprints.show(listed);
      if (total !== undefined) view.count(total);
    },
    onPick: (item) => store.update({ item }),
    onHover: hover,
    onFound: ({ bbox }) => {
      const box = flatBox(bbox);
      if (box && !isSeen(map, box)) fitBox(map, box, panel.padding(main));
    },
    viewBox: () => boxOf(map),
  });
  const collections = new Collections((collection) => {
    store.update({ collection: collection.id, item: undefined, render: undefined });
    const box = collectionBox(collection);
    if (box) fitBox(map, box, panel.padding(main));
  });
  const view = new CollectionView(
    () => store.update({ collection: undefined, item: undefined, render: undefined }),
    imagery.element,
    items.element,
  );
  const layers = new Layers(map, store);
  panel.catalog.append(collections.element, view.element);
  panel.layers.append(layers.element);

  let open: Collection | undefined;

  /** Bring the panel and the map in line with the state. */
  const apply = (state: State, previous: Partial<State>) => {
    if (state.collection !== previous.collection) openCollection(state.collection, previous.collection);
    else if (open) {
      if (state.item !== previous.item) selectItem();
      if (state.item !== previous.item || state.render !== previous.render) showImagery(open);
    }
  };
  const selectItem = () => {
    footprints.select(store.state.item);
    items.select(store.state.item);
  };
  const showImagery = (collection: Collection) => imagery.show(collection, store.state.item, store.state.render);

  const openCollection = (id: string | undefined, before?: string) => {
    // The keyboard's place moves along when what it was on is hidden.
    const focused = panel.catalog.contains(document.activeElement);
    main.dataset["collection"] = id ?? "";
    collections.element.hidden = id !== undefined;
    view.element.hidden = id === undefined;
    open = undefined;
    items.close();
    footprints.select(undefined);
    imagery.clear();
    opening.cancel();
    if (id === undefined) {
      if (focused && before !== undefined) collections.focus(before);
      return;
    }
    view.waiting();
    opening.run(
      async (signal) => {
        const collection = await collections.get(id, signal);
        signal.throwIfAborted();
        open = collection;
        view.show(collection);
        if (focused) view.focus();
        items.open(id);
        selectItem();
        showImagery(collection);
        const box = collectionBox(collection);
        if (box && !store.state.view) fitBox(map, box, panel.padding(main));
      },
      (message) => view.failed(message, () => openCollection(id)),
    );
  };

  store.subscribe(apply);
  followView(map, store);
  inspectOnClick(map, { store, footprints, imagery, layers, covered: () => panel.padding(main) });
  map.on("moveend", () => items.viewMoved());
  onTileError(map, (source, reason) => {
    if (source === RASTER_SOURCE) imagery.tilesFailed(reason);
    else layers.tilesFailed(source, reason);
  });
  apply(store.state, {});
}
