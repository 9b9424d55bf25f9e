/** The map itself: how it is made, how it follows the state, and when it is at rest. */

import { AJAXError, AttributionControl, Map, NavigationControl, ScaleControl, setWorkerUrl, type PaddingOptions } from "maplibre-gl";
import workerUrl from "maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url";
import { problemMessage } from "./api";
import { baseStyle, followColourScheme } from "./basemap";
import { type Box, overlaps, unwrapped } from "./geo";
import type { Store, View } from "./state";
import { text } from "./text";

/** One item of a drone flight may be a few metres wide: do not dive into its pixels. */
const CLOSEST_FIT = 17;
const SMALLEST_SEEN = 60;

setWorkerUrl(new URL(workerUrl, document.baseURI).href);

/** Make the map and wait until layers can be added. Throws where WebGL is missing. */
export async function openMap(container: HTMLElement, view: View | undefined): Promise<Map> {
  const map = new Map({
    container,
    style: baseStyle,
    zoom: view?.zoom ?? 1.5,
    center: view ? [view.lon, view.lat] : [10, 25],
    attributionControl: false,
    dragRotate: false,
    maxPitch: 0,
    // Screenshots and printing read the canvas after it was drawn.
    canvasContextAttributes: { preserveDrawingBuffer: true },
    locale: text.mapLocale,
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  map.addControl(new NavigationControl({ showCompass: false }), "top-right");
  map.addControl(new AttributionControl({ compact: false, customAttribution: text.attribution }), "bottom-right");
  map.addControl(new ScaleControl({ maxWidth: 120 }), "bottom-right");
  trackIdle(map);
  await map.once("style.load");
  followColourScheme(map);
  return map;
}

/** `<html data-map-idle>` says whether everything is loaded and drawn. */
function trackIdle(map: Map): void {
  const mark = (idle: boolean) => {
    document.documentElement.dataset["mapIdle"] = String(idle);
  };
  mark(false);
  map.on("idle", () => mark(true));
  map.on("dataloading", () => mark(false));
  map.on("movestart", () => mark(false));
}

/** Keep the view in the address bar, and go where the Back button leads. */
export function followView(map: Map, store: Store): void {
  map.on("moveend", () => store.update({ view: viewOf(map) }, "replace"));
  store.subscribe(({ view }, previous) => {
    if (!view || view === previous.view) return;
    const here = viewOf(map);
    if (here.zoom === view.zoom && here.lat === view.lat && here.lon === view.lon) return;
    map.jumpTo({ zoom: view.zoom, center: [view.lon, view.lat] });
  });
}

function viewOf(map: Map): View {
  const { lat, lng } = map.getCenter();
  return { zoom: map.getZoom(), lat, lon: lng };
}

export function fitBox(map: Map, box: Box, padding: PaddingOptions): void {
  map.fitBounds(unwrapped(box), { padding, maxZoom: CLOSEST_FIT, duration: 700 });
}

/** Whether a place lies in view and is large enough to make out. */
export function isSeen(map: Map, box: Box): boolean {
  const [west, south, east, north] = unwrapped(box);
  const [low, high] = [map.project([west, south]), map.project([east, north])];
  return overlaps(box, boxOf(map)) && Math.max(high.x - low.x, low.y - high.y) > SMALLEST_SEEN;
}

export function boxOf(map: Map): Box {
  const bounds = map.getBounds();
  return [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()];
}

/** Tell which source's tile failed and why, in the service's words. */
export function onTileError(map: Map, listener: (source: string, reason: string) => void): void {
  map.on("error", async (event) => {
    const { error } = event;
    if (!("sourceId" in event) || typeof event.sourceId !== "string") console.error(error);
    else if (error instanceof AJAXError) listener(event.sourceId, problemMessage(error.status, await error.body.text()));
    else listener(event.sourceId, text.errors.unreachable);
  });
}
