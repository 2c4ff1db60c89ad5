// Everything that takes time, away from the page: the engine, decoding, the overlay. One message is
// worked off after the other; each is answered under its number with `found` or one line of `error`.
import { runInBlocks, tiling } from "./blocks.js";
import { overlay, rgba } from "./overlay.js";
import { decode, geometry, mapToOriginal, prepare, toOriginal } from "./picture.js";
import { readRecord } from "./record.js";

const PIXEL_LIMIT = 2 ** 29;
let detector = null; // {record, grid, run}
let turn = Promise.resolve();

self.onmessage = ({ data: { number, task, ...what } }) => {
  turn = turn.then(async () => {
    try {
      const { found, hand = [] } = await (task === "load" ? load(what) : inspect(what));
      self.postMessage({ number, found }, hand);
    } catch (error) {
      self.postMessage({ number, error: String(error.message ?? error).split("\n")[0] });
    }
  });
};

/** Read a detector's bytes and start the engine on its graph. */
async function load({ name, bytes, webgpu }) {
  const record = readRecord(bytes, name);
  let ort;
  try {
    ort = await import(webgpu ? "./vendor/ort.webgpu.min.mjs" : "./vendor/ort.wasm.min.mjs");
  } catch {
    throw new Error("vendor/: the engine is missing: run `npm ci && npm run build` beside the page");
  }
  const threads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  ort.env.wasm.wasmPaths = new URL("vendor/", import.meta.url).href;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  let session;
  try {
    session = await ort.InferenceSession.create(bytes, {
      executionProviders: [webgpu ? "webgpu" : "wasm"],
      logSeverityLevel: 3,
    });
  } catch (error) {
    const why = String(error.message ?? error).split("\n")[0];
    throw new Error(`${name}: ONNX Runtime refuses the graph (${why}): copy it again`);
  }
  const run = async (pixels, height, width) => {
    const grey = record.settings.color === "grey";
    const image = new ort.Tensor("uint8", pixels, [1, height, width, ...(grey ? [] : [3])]);
    try {
      const out = await session.run({ image }, ["anomaly_map", "score"]);
      return { map: out.anomaly_map.data, score: out.score.data[0] };
    } catch (error) {
      const why = String(error.message ?? error).split("\n")[0];
      throw new Error(`ONNX Runtime failed on ${width}x${height} (${why}): use smaller pictures`);
    }
  };
  await detector?.release();
  detector = {
    record, run, grid: tiling(record.settings, record.reach), release: () => session.release(),
  };
  return { found: { record, threads, engine: ort.env.versions.web } };
}

/** One picture file -> score, verdict, map and mask at its own size, what to show, milliseconds. */
async function inspect({ name, file }) {
  const { settings, thresholds } = detector.record;
  const started = performance.now();
  const picture = await decode(file, name, settings);
  const place = geometry(picture.height, picture.width, settings);
  const [h, w] = [place.crop.h, place.crop.w];
  if (Math.min(h, w) < settings.tile) {
    throw new Error(
      `${name}: ${w}x${h} at working size is smaller than the detector's ` +
        `${settings.tile}x${settings.tile} tile: use larger pictures`,
    );
  }
  if (place.scaled[0] * place.scaled[1] > PIXEL_LIMIT) {
    throw new Error(`${name}: is too long and thin: cut it into pieces`);
  }
  const working = prepare(picture, place);
  const prepared = performance.now();
  const { map: workingMap, score } = await runInBlocks(detector.run, working, detector.grid);
  const ran = performance.now();
  const map = mapToOriginal(workingMap, place);
  const defective = score > thresholds.score;
  const mask = marked(map, workingMap, defective, thresholds, place);
  const found = {
    name, score, defective, map, mask,
    height: picture.height, width: picture.width, working: { height: h, width: w },
    picture: rgba(picture),
    overlay: overlay(picture, map, mask, thresholds),
    milliseconds: { prepare: prepared - started, run: ran - prepared, },
  };
  found.milliseconds.all = performance.now() - started;
  const hand = [map, mask, found.picture, found.overlay].map((values) => values.buffer);
  return { found, hand };
}

/** Pixels over the threshold, and of a defective picture always its peak, as in Python. */
function marked(map, workingMap, defective, thresholds, place) {
  const limit = Math.fround(thresholds.pixel); // compared in float32, as in Python and in the graph
  const mask = new Uint8Array(map.length);
  for (let i = 0; i < map.length; i++) {
    if (map[i] > limit) mask[i] = 1;
  }
  if (defective) {
    let peak = 0;
    for (let i = 0; i < workingMap.length; i++) if (workingMap[i] > workingMap[peak]) peak = i;
    const { w } = place.crop;
    const [row, column] = toOriginal(Math.floor(peak / w), peak % w, place);
    mask[row * place.original[1] + column] = 1;
  }
  return mask;
}
