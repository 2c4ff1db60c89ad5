// Copies from node_modules what the page loads: the engine's loader and WebAssembly, once for the
// CPU and once for WebGPU. Nothing is bundled or changed.
import { copyFileSync, mkdirSync } from "node:fs";

const FILES = [
  "ort.wasm.min.mjs",
  "ort-wasm-simd-threaded.mjs",
  "ort-wasm-simd-threaded.wasm",
  "ort.webgpu.min.mjs",
  "ort-wasm-simd-threaded.asyncify.mjs",
  "ort-wasm-simd-threaded.asyncify.wasm",
];

const here = (path) => new URL(path, import.meta.url);
mkdirSync(here("vendor/"), { recursive: true });
for (const file of FILES) {
  copyFileSync(here(`node_modules/onnxruntime-web/dist/${file}`), here(`vendor/${file}`));
}
console.log(`vendor/: ${FILES.length} files`);
