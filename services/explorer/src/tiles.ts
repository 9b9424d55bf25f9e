import { getJson, localUrl, type Service } from "./api";

/** The parts of a TileJSON document that a MapLibre source takes. */
export interface TileSource {
  tiles: string[];
  minzoom?: number;
  maxzoom?: number;
  bounds?: [number, number, number, number];
}

export interface TileJson extends TileSource {
  vector_layers?: { id: string }[];
}

export async function getTileJson(service: Service, url: string, signal: AbortSignal): Promise<TileJson> {
  const answer = await getJson<TileJson>(url, signal);
  return { ...answer, tiles: answer.tiles.map((tiles) => localUrl(tiles, service)) };
}

/** The source's share of a TileJSON. Its attribution is left out: MapLibre would treat it as HTML. */
export function sourceOf({ tiles, minzoom, maxzoom, bounds }: TileJson): TileSource {
  return {
    tiles,
    ...(minzoom !== undefined && { minzoom }),
    ...(maxzoom !== undefined && { maxzoom }),
    ...(bounds && { bounds }),
  };
}
