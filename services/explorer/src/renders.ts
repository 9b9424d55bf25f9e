/** A look of a collection (STAC render extension) as the parameters TiTiler 2 takes. */

export interface Render {
  title?: string;
  assets?: string | string[];
  bidx?: number | number[];
  expression?: string;
  rescale?: (string | number[])[];
  colormap_name?: string;
  colormap?: string | object;
  color_formula?: string;
  nodata?: number | string;
  resampling?: string;
  reproject?: string;
  unscale?: boolean;
  asset_as_band?: boolean;
  algorithm?: string;
  algorithm_params?: string | object;
}

export type Renders = Record<string, Render>;

/** Parameters that decide which values are read. */
const READING = ["expression", "asset_as_band", "nodata", "unscale", "resampling", "reproject"] as const;
/** Parameters that decide how values become colours. */
const COLOURING = ["algorithm", "algorithm_params", "color_formula", "colormap_name", "colormap"] as const;

/** What a tile needs. Repeated parameters keep the render's order. */
export function tileParameters(render: Render): URLSearchParams {
  const parameters = pointParameters(render);
  for (const range of render.rescale ?? []) parameters.append("rescale", String(range));
  copy(render, COLOURING, parameters);
  return parameters;
}

/** What a pixel's value needs: the same reading, without colours. */
export function pointParameters(render: Render): URLSearchParams {
  const parameters = new URLSearchParams();
  for (const asset of list(render.assets)) parameters.append("assets", withBands(asset, list(render.bidx)));
  copy(render, READING, parameters);
  return parameters;
}

/** The colormap and the ends of its scale, where a render has one scale for one band. */
export function legendOf(render: Render): { colormap: string; low: number; high: number } | undefined {
  if (!render.colormap_name || render.rescale?.length !== 1) return undefined;
  const [low, high] = String(render.rescale[0]).split(",").map(Number);
  if (low === undefined || high === undefined || !Number.isFinite(low) || !Number.isFinite(high)) return undefined;
  return { colormap: render.colormap_name, low, high };
}

/** TiTiler 2 has no `bidx` parameter beside `assets`: the band indexes go with the asset. */
function withBands(asset: string, bands: number[]): string {
  return bands.length === 0 || asset.includes("|") ? asset : `${asset}|bidx=${bands.join(",")}`;
}

function copy(render: Render, keys: readonly (keyof Render)[], parameters: URLSearchParams): void {
  for (const key of keys) {
    const value = render[key];
    if (value === undefined || value === null) continue;
    parameters.set(key, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
}

function list<T>(value: T | T[] | undefined): T[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}
