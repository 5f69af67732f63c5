import { defineConfig } from "vite";
import { notices } from "./scripts/notices.mjs";

export default defineConfig({
  base: "./",
  plugins: [notices()],
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 8000,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
});
