import { defineConfig } from "vite";

const SERVICES = ["stac", "raster", "vector", "assets"];
const PLATFORM = "http://127.0.0.1:8080";

export default defineConfig({
  // Relative, so that the page works under any path prefix.
  base: "./",
  build: {
    target: "es2022",
    // Not "assets": that path belongs to the platform's own asset service.
    assetsDir: "static",
    // The licences of what is bundled go with it.
    license: { fileName: "licences.md" },
    // MapLibre alone is larger than Vite's default limit of 500 kB.
    chunkSizeWarningLimit: 1200,
    rolldownOptions: {
      output: { codeSplitting: { groups: [{ name: "maplibre", test: /node_modules\/maplibre-gl/ }] } },
    },
  },
  worker: { format: "es" },
  server: {
    proxy: Object.fromEntries(SERVICES.map((service) => [`/${service}`, PLATFORM])),
  },
});
