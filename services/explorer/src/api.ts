/** Talking to the services beside this page: addresses, JSON, errors. */

import { text } from "./text";

export type Service = "stac" | "raster" | "vector";
export type Query = URLSearchParams | Record<string, string>;

/** An answer the page cannot use; the message is fit to show. */
export class ServiceError extends Error {}

/** Path segments joined safely: ids may hold any character. */
export function path(...segments: string[]): string {
  return segments.map(encodeURIComponent).join("/");
}

/** The address of something below a service, beside the page wherever the page is mounted. */
export function serviceUrl(service: Service, below: string, query: Query = {}, base = document.baseURI): string {
  const url = new URL(`${service}/${below}`, base);
  url.search = new URLSearchParams(query).toString();
  return url.href;
}

/**
 * Re-root a link that a service wrote at the service beside this page.
 *
 * Links carry the platform's public base URL. A page opened under another name (a tunnel, the development server)
 * would leave its origin by them. Works on URL templates too, so it must not parse the braces.
 */
export function localUrl(href: string, service: Service, base = document.baseURI): string {
  const below = new RegExp(`^https?://[^/]+(?:/.*?)??/${service}/(.*)$`).exec(href)?.[1];
  return below === undefined ? href : new URL(`${service}/`, base).href + below;
}

export async function getJson<T>(url: string, signal: AbortSignal): Promise<T> {
  const response = await request(url, signal);
  const body = await response.text();
  if (!response.ok) throw new ServiceError(problemMessage(response.status, body));
  try {
    return JSON.parse(body) as T;
  } catch (cause) {
    throw new ServiceError(text.errors.notJson, { cause });
  }
}

async function request(url: string, signal: AbortSignal): Promise<Response> {
  try {
    return await fetch(url, { signal, headers: { accept: "application/json, */*;q=0.5" } });
  } catch (cause) {
    signal.throwIfAborted();
    throw new ServiceError(navigator.onLine ? text.errors.unreachable : text.errors.offline, { cause });
  }
}

/** The words of an error body: RFC 9457 problem details, or FastAPI's `detail` and `description`. */
export function problemMessage(status: number, body: string): string {
  const { title, detail, description } = jsonObject(body);
  const sentences = [title, detail, description].filter((part): part is string => typeof part === "string" && part !== "");
  return sentences.length > 0 ? [...new Set(sentences)].join(": ") : text.errors.status(status);
}

function jsonObject(body: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}
