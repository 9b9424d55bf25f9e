/** Every word the page shows, in one place. */

const number = new Intl.NumberFormat("en");
/** Values come from data, where 2024 may be a year: no thousands separators. */
const measure = new Intl.NumberFormat("en", { maximumSignificantDigits: 7, useGrouping: false });
const day = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeZone: "UTC" });
const minute = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });

const plural = (count: number, one: string, many: string) => `${number.format(count)} ${count === 1 ? one : many}`;

export const text = {
  title: "stacyard",
  panel: "Catalog and layers",
  openPanel: "Open the panel",
  closePanel: "Close the panel",
  map: "Map",
  offline: "You are offline. Only what is already loaded can be shown.",
  loading: "Loading…",
  retry: "Try again",
  more: "More",
  tabs: { catalog: "Imagery", layers: "Vector layers" },
  attribution: "Land: Natural Earth",

  errors: {
    offline: "You are offline.",
    unreachable: "The service cannot be reached.",
    notJson: "The service gave an answer that this page cannot read.",
    status: (status: number) => `The service answered with status ${status}.`,
    webgl: "This browser cannot draw the map: WebGL 2 is off or missing.",
    tiles: (reason: string) => `Some tiles are missing. ${reason}`,
    land: "The land outline could not be loaded.",
  },

  collections: {
    heading: "Collections",
    empty: "Nothing here yet: bring imagery in with ",
    emptyCommand: "stacyard ingest",
    back: "All collections",
    licence: "Licence",
    time: "Time",
    items: "Items",
    description: "About",
    unknown: "not stated",
  },

  items: {
    heading: "Items",
    from: "From",
    to: "To",
    inView: "Only in this view",
    none: "No items match.",
    emptyCollection: "This collection has no items yet.",
    count: (shown: number, matched: number | undefined, complete: boolean) => {
      if (matched !== undefined && matched > shown) return `${number.format(shown)} of ${plural(matched, "item", "items")}`;
      return complete ? plural(shown, "item", "items") : `First ${plural(shown, "item", "items")}`;
    },
    cloud: (percent: number) => `${Math.round(percent)} % cloud`,
    cloudTitle: "Cloud cover",
    noDate: "No date",
  },

  imagery: {
    heading: "Map imagery",
    look: "Look",
    show: "Show",
    opacity: "Opacity",
    mosaic: "Mosaic of the whole collection",
    oneItem: "One item: ",
    toMosaic: "Back to the mosaic",
    none: "No look is defined for this collection: its recipe can name some under “renders”.",
    legend: (name: string) => `Colours of ${name}`,
  },

  layers: {
    heading: "Vector layers",
    none: "No vector layers are published yet.",
  },

  popup: {
    pixel: "Pixel values",
    reading: "Reading…",
    noPixel: "No data here.",
    itemsHere: "Items here",
    noAttributes: "No attributes.",
    band: "Band",
    value: "Value",
    attribute: "Attribute",
  },

  count: (value: number) => number.format(value),
  value: (value: number) => (Number.isInteger(value) ? String(value) : measure.format(value)),
  coordinates: (lon: number, lat: number) => `${lat.toFixed(5)}, ${lon.toFixed(5)}`,
  date: (iso: string) => formatted(day, iso),
  dateTime: (iso: string) => formatted(minute, iso),
  interval: (start: string | null | undefined, end: string | null | undefined) => {
    if (!start) return end ? `until ${text.date(end)}` : undefined;
    if (!end) return `since ${text.date(start)}`;
    const [from, to] = [text.date(start), text.date(end)];
    return from === to ? from : `${from} – ${to}`;
  },

  /** MapLibre's own words, by its keys. */
  mapLocale: {
    "AttributionControl.ToggleAttribution": "Show or hide credits",
    "Map.Title": "Map",
    "NavigationControl.ResetBearing": "Point north up",
    "NavigationControl.ZoomIn": "Zoom in",
    "NavigationControl.ZoomOut": "Zoom out",
    "Popup.Close": "Close",
  },
};

/** What cannot be parsed is shown as it came. */
function formatted(format: Intl.DateTimeFormat, iso: string): string {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? iso : format.format(date);
}
