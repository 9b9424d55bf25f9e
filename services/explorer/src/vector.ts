/** The vector service: which layers there are, and each on the map. */

import type { ExpressionSpecification, Map, MapGeoJSONFeature, Point } from "maplibre-gl";
import { getJson, path, serviceUrl } from "./api";
import { slots } from "./basemap";
import { getTileJson, sourceOf } from "./tiles";

export interface VectorLayer {
  id: string;
  title: string;
  colour: string;
}

const PLUM = "#7d4f86";
const COLOURS = ["#2c6e91", PLUM, "#a8502a", "#4f7a2b", "#8a6a12", "#3f5aa0"];
const SYSTEM_SCHEMAS = new Set(["pgstac", "pg_temp", "pg_catalog", "information_schema", "tiger", "topology"]);
const SYSTEM_TABLES = new Set([
  "public.spatial_ref_sys",
  "public.geometry_columns",
  "public.geography_columns",
  "public.raster_columns",
  "public.raster_overviews",
]);

const POLYGONS: ExpressionSpecification = ["match", ["geometry-type"], ["Polygon", "MultiPolygon"], true, false];
const POINTS: ExpressionSpecification = ["match", ["geometry-type"], ["Point", "MultiPoint"], true, false];

export async function listVectorLayers(signal: AbortSignal): Promise<VectorLayer[]> {
  const url = serviceUrl("vector", "collections", { limit: "1000" });
  const { collections } = await getJson<{ collections?: { id: string; title?: string }[] }>(url, signal);
  return (collections ?? [])
    .filter(({ id }) => !isSystemTable(id))
    .map(({ id, title }, index) => ({ id, title: title || id, colour: COLOURS[index % COLOURS.length] ?? PLUM }));
}

export function isSystemTable(id: string): boolean {
  const [schema] = id.split(".", 1);
  return SYSTEM_TABLES.has(id) || (schema !== undefined && SYSTEM_SCHEMAS.has(schema));
}

export function sourceIdOf(layer: VectorLayer): string {
  return `vector:${layer.id}`;
}

export async function drawVectorLayer(map: Map, layer: VectorLayer, signal: AbortSignal): Promise<void> {
  const url = serviceUrl("vector", `${path("collections", layer.id)}/tiles/WebMercatorQuad/tilejson.json`);
  const tileJson = await getTileJson("vector", url, signal);
  signal.throwIfAborted();
  const source = sourceIdOf(layer);
  const common = { source, "source-layer": tileJson.vector_layers?.[0]?.id ?? "default" };
  map.addSource(source, { type: "vector", ...sourceOf(tileJson) });
  map.addLayer(
    {
      ...common,
      id: `${source}:fill`,
      type: "fill",
      filter: POLYGONS,
      paint: { "fill-color": layer.colour, "fill-opacity": 0.18 },
    },
    slots.vectors,
  );
  map.addLayer(
    {
      ...common,
      id: `${source}:line`,
      type: "line",
      filter: ["!", POINTS],
      layout: { "line-join": "round" },
      paint: { "line-color": layer.colour, "line-width": 1.6 },
    },
    slots.vectors,
  );
  map.addLayer(
    {
      ...common,
      id: `${source}:circle`,
      type: "circle",
      filter: POINTS,
      paint: {
        "circle-color": layer.colour,
        "circle-radius": ["interpolate", ["linear"], ["zoom"], 4, 2.5, 14, 6],
        "circle-stroke-color": "#ffffff",
        "circle-stroke-width": 1,
      },
    },
    slots.vectors,
  );
}

export function removeVectorLayer(map: Map, layer: VectorLayer): void {
  for (const id of mapLayersOf(map, layer)) map.removeLayer(id);
  if (map.getSource(sourceIdOf(layer))) map.removeSource(sourceIdOf(layer));
}

/** The features of these layers around a place on the screen, uppermost first, each once. */
export function vectorFeaturesAt(map: Map, layers: VectorLayer[], { x, y }: Point): MapGeoJSONFeature[] {
  const drawn = layers.flatMap((layer) => mapLayersOf(map, layer));
  if (drawn.length === 0) return [];
  // A finger is not a needle: lines and points are found within 4 points of the click.
  const area: [[number, number], [number, number]] = [[x - 4, y - 4], [x + 4, y + 4]];
  const found = map.queryRenderedFeatures(area, { layers: drawn });
  return [...new globalThis.Map(found.map((feature) => [keyOf(feature), feature])).values()];
}

/** A feature cut by tile edges or drawn by two layers comes more than once. */
function keyOf({ source, id, properties }: MapGeoJSONFeature): string {
  return JSON.stringify([source, id ?? properties]);
}

function mapLayersOf(map: Map, layer: VectorLayer): string[] {
  return ["fill", "line", "circle"].map((type) => `${sourceIdOf(layer)}:${type}`).filter((id) => map.getLayer(id));
}
