/** The raster service: tiles on the map, the legend's image, pixel values. */

import type { Map } from "maplibre-gl";
import { getJson, path, serviceUrl } from "./api";
import { slots } from "./basemap";
import { pointParameters, type Render, tileParameters } from "./renders";
import { getTileJson, sourceOf } from "./tiles";

/** What to draw: a whole collection as a mosaic, or one item of it. */
export interface Target {
  collection: string;
  item: string | undefined;
  render: Render;
}

export interface PixelReading {
  /** The item a value comes from, where the service names it. */
  source: string | undefined;
  bands: { name: string; value: number | null }[];
}

export const RASTER_SOURCE = "imagery";

export function tileJsonUrl(target: Target, pixelRatio: number): string {
  const parameters = tileParameters(target.render);
  // Tiles are laid out at 256 points; a dense screen gets twice the pixels for each.
  parameters.set("tilesize", pixelRatio > 1 ? "512" : "256");
  return serviceUrl("raster", `${resource(target)}/WebMercatorQuad/tilejson.json`, parameters);
}

export function pointUrl(target: Target, lon: number, lat: number): string {
  const place = `${lon.toFixed(7)},${lat.toFixed(7)}`;
  return serviceUrl("raster", `${resource(target)}/point/${place}`, pointParameters(target.render));
}

export function legendUrl(colormap: string): string {
  return serviceUrl("raster", path("colorMaps", colormap), { f: "png", orientation: "horizontal" });
}

function resource({ collection, item }: Target): string {
  return item === undefined ? path("collections", collection) : path("collections", collection, "items", item);
}

interface BandValues {
  values: (number | null)[];
  band_names?: string[];
  band_descriptions?: string[];
}

/** TiTiler's answer for one item, or for a mosaic, where each contributing item is called an asset. */
export type PointAnswer = BandValues | { assets: (BandValues & { name: string })[] };

export function readings(answer: PointAnswer): PixelReading[] {
  if (!("assets" in answer)) return [{ source: undefined, bands: bandsOf(answer) }];
  return answer.assets.map((asset) => ({ source: asset.name, bands: bandsOf(asset) }));
}

export async function readPixel(target: Target, lon: number, lat: number, signal: AbortSignal): Promise<PixelReading[]> {
  return readings(await getJson<PointAnswer>(pointUrl(target, lon, lat), signal));
}

function bandsOf({ values, band_names, band_descriptions }: BandValues): PixelReading["bands"] {
  return values.map((value, index) => ({
    name: band_descriptions?.[index] || band_names?.[index] || String(index + 1),
    value,
  }));
}

/** The one raster layer on the map. */
export class RasterLayer {
  readonly #map: Map;
  #opacity = 1;
  #visible = true;

  constructor(map: Map) {
    this.#map = map;
  }

  async show(target: Target, signal: AbortSignal): Promise<void> {
    const tileJson = await getTileJson("raster", tileJsonUrl(target, devicePixelRatio), signal);
    signal.throwIfAborted();
    this.remove();
    this.#map.addSource(RASTER_SOURCE, { type: "raster", tileSize: 256, ...sourceOf(tileJson) });
    this.#map.addLayer({ id: RASTER_SOURCE, type: "raster", source: RASTER_SOURCE }, slots.imagery);
    this.style(this.#opacity, this.#visible);
  }

  remove(): void {
    if (this.#map.getLayer(RASTER_SOURCE)) this.#map.removeLayer(RASTER_SOURCE);
    if (this.#map.getSource(RASTER_SOURCE)) this.#map.removeSource(RASTER_SOURCE);
  }

  style(opacity: number, visible: boolean): void {
    this.#opacity = opacity;
    this.#visible = visible;
    if (!this.#map.getLayer(RASTER_SOURCE)) return;
    this.#map.setPaintProperty(RASTER_SOURCE, "raster-opacity", opacity);
    this.#map.setLayoutProperty(RASTER_SOURCE, "visibility", visible ? "visible" : "none");
  }
}
