/** The catalog: collections and items, page by page. */

import type { Feature, Geometry } from "geojson";
import { getJson, localUrl, path, serviceUrl } from "./api";
import { type Box, flatBox } from "./geo";
import type { Renders } from "./renders";
import { text } from "./text";

interface Link {
  rel: string;
  href: string;
}

export interface Collection {
  id: string;
  title?: string;
  description?: string;
  license?: string;
  extent?: {
    spatial?: { bbox?: number[][] };
    temporal?: { interval?: (string | null)[][] };
  };
  renders?: Renders;
}

export interface ItemProperties {
  datetime?: string | null;
  start_datetime?: string;
  end_datetime?: string;
  title?: string;
  "eo:cloud_cover"?: number;
}

export interface Item extends Feature<Geometry | null, ItemProperties> {
  id: string;
}

export interface Page<T> {
  entries: T[];
  /** Where the next page is, if there is one. */
  next: string | undefined;
  /** How many there are in all, if the service counted. */
  matched: number | undefined;
}

export interface ItemQuery {
  collection: string;
  /** Days, as a date input gives them: "2020-05-18", or empty. */
  from: string;
  to: string;
  box: Box | undefined;
}

const COLLECTIONS_A_PAGE = "100";
const ITEMS_A_PAGE = "50";

export function collectionsUrl(): string {
  return serviceUrl("stac", "collections", { limit: COLLECTIONS_A_PAGE });
}

export async function collectionsPage(url: string, signal: AbortSignal): Promise<Page<Collection>> {
  const body = await getJson<{ collections?: Collection[] } & PageInfo>(url, signal);
  return page(body.collections, body);
}

export function getCollection(id: string, signal: AbortSignal): Promise<Collection> {
  return getJson(serviceUrl("stac", path("collections", id)), signal);
}

export function getItem(collection: string, id: string, signal: AbortSignal): Promise<Item> {
  return getJson(serviceUrl("stac", path("collections", collection, "items", id)), signal);
}

/** The first page of a search, newest first. */
export function itemsUrl(query: ItemQuery): string {
  const parameters = new URLSearchParams({ collections: query.collection, limit: ITEMS_A_PAGE, sortby: "-datetime" });
  const datetime = datetimeRange(query.from, query.to);
  if (datetime) parameters.set("datetime", datetime);
  if (query.box) parameters.set("bbox", query.box.map((degrees) => degrees.toFixed(6)).join(","));
  return serviceUrl("stac", "search", parameters);
}

export async function itemsPage(url: string, signal: AbortSignal): Promise<Page<Item>> {
  const body = await getJson<{ features?: Item[] } & PageInfo>(url, signal);
  return page(body.features, body);
}

/** Whole days in UTC, open where a day is empty. */
export function datetimeRange(from: string, to: string): string | undefined {
  if (!from && !to) return undefined;
  return `${from ? `${from}T00:00:00Z` : ".."}/${to ? `${to}T23:59:59.999Z` : ".."}`;
}

export function collectionBox(collection: Collection): Box | undefined {
  return flatBox(collection.extent?.spatial?.bbox?.[0]);
}

export function collectionTime(collection: Collection): string | undefined {
  const [start, end] = collection.extent?.temporal?.interval?.[0] ?? [];
  return text.interval(start, end);
}

export function itemTime({ properties }: Item): string {
  if (properties.datetime) return text.dateTime(properties.datetime);
  return text.interval(properties.start_datetime, properties.end_datetime) ?? text.items.noDate;
}

interface PageInfo {
  links?: Link[];
  numberMatched?: number;
}

function page<T>(entries: T[] | undefined, { links, numberMatched }: PageInfo): Page<T> {
  const next = links?.find((link) => link.rel === "next")?.href;
  return { entries: entries ?? [], next: next && localUrl(next, "stac"), matched: numberMatched };
}
