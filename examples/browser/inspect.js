// The page: files in, cards out. The work itself is done in worker.js.
import { showCard, showError, showSummary } from "./cards.js";

const MOST = 100; // cards kept: pixels of older ones are let go
const LARGER = 1.5; // a picture this many times the calibrated size has that many more chances
const query = new URLSearchParams(location.search);
const webgpu = query.get("ep") === "webgpu";
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
const element = (id) => document.getElementById(id);
let detector = null; // what the worker said of it

/** What was found so far, newest last: {name, score, defective, map, mask, ...}. */
export const results = [];

worker.onmessage = ({ data: { number, found, error } }) => {
  const { resolve, reject } = waiting.get(number);
  waiting.delete(number);
  if (error === undefined) resolve(found);
  else reject(new Error(error));
};
worker.onerror = (event) => {
  showError(`worker.js: stopped (${event.message ?? "could not be loaded"}): reload the page`);
};

let last = 0;
function ask(task, what, hand = []) {
  return new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject });
    worker.postMessage({ number: last, task, ...what }, hand);
  });
}

/** Use another detector; what the old one found goes. */
export async function load(name, bytes) {
  clear();
  detector = null;
  element("pictures").disabled = true;
  element("detector-name").textContent = name;
  element("detector-facts").textContent = "starting the engine …";
  try {
    detector = await ask("load", { name, bytes, webgpu });
  } catch (error) {
    element("detector-name").textContent = "No detector yet";
    element("detector-facts").textContent = "Choose the detector.onnx of a run.";
    showError(error.message);
    return;
  }
  element("pictures").disabled = false;
  element("detector-facts").textContent = facts(detector);
  const notes = [...(detector.record.warnings ?? [])];
  if (!self.crossOriginIsolated) {
    notes.push("One thread only: the server does not isolate this page; serve.py does.");
  }
  if (webgpu) notes.push("WebGPU was asked for; its results are not tested against Python's.");
  element("note").textContent = notes.join(" ");
  element("note").hidden = notes.length === 0;
}

function facts({ record: { settings, calibration }, threads, engine }) {
  const size = settings.resize === null ? "own size" : `short side ${settings.resize}`;
  const rate = calibration
    ? `false rejects promised ${+(100 * calibration.promised_false_reject_rate).toPrecision(2)} %, ` +
      `by ${calibration.pictures} good pictures`
    : "thresholds set by hand";
  const threaded = webgpu ? "WebGPU" : threads === 1 ? "1 thread" : `${threads} threads`;
  return `${settings.color}, ${size} · ${rate} · ONNX Runtime Web ${engine}, ${threaded}`;
}

/** Inspect picture files one after the other; each gets a card or a line of error. */
export async function inspect(files) {
  if (detector === null) {
    showError("no detector yet: choose a run's detector.onnx first");
    return;
  }
  const used = detector;
  for (const file of files) {
    document.body.classList.add("busy");
    try {
      const found = await ask("inspect", { name: file.name, file });
      if (used !== detector) return;
      add(found);
    } catch (error) {
      if (used !== detector) return;
      showError(error.message);
    } finally {
      document.body.classList.toggle("busy", waiting.size > 0);
    }
  }
}

function add(found) {
  const { thresholds, calibration } = detector.record;
  const { height, width } = found.working;
  const times = (height * width) / (calibration?.pixels ?? Infinity);
  const note = times > LARGER
    ? `${times.toFixed(0)} times the size of the pictures that the threshold comes from: the ` +
      "promised false-reject rate does not hold for it."
    : "";
  element("results").prepend(showCard(found, thresholds, note));
  results.push(found);
  if (results.length > MOST) {
    results.shift();
    element("results").lastElementChild.remove();
  }
  showSummary(results);
}

function clear() {
  results.length = 0;
  element("results").replaceChildren();
  element("errors").replaceChildren();
  showSummary(results);
}

async function take(files) {
  const all = [...files];
  const model = all.find((file) => file.name.endsWith(".onnx"));
  if (model) await load(model.name, new Uint8Array(await model.arrayBuffer()));
  const pictures = all.filter((file) => !file.name.endsWith(".onnx"));
  if (pictures.length > 0) await inspect(pictures);
}

/** `?model=NAME`: a detector beside the page. */
async function loadBeside(name) {
  let answer = null;
  try {
    answer = await fetch(new URL(name, location.href));
  } catch { /* told below */ }
  if (!answer?.ok) {
    showError(`${name}: is not to be had beside this page: copy it there, or choose a file`);
    return;
  }
  await load(name, new Uint8Array(await answer.arrayBuffer()));
}

for (const id of ["model", "pictures"]) {
  element(id).addEventListener("change", async ({ target }) => {
    const files = [...target.files];
    target.value = ""; // so that the same file can be chosen again
    await take(files);
  });
}
addEventListener("dragover", (event) => {
  event.preventDefault();
  element("drop").classList.add("over");
});
for (const left of ["dragleave", "drop"]) {
  addEventListener(left, () => element("drop").classList.remove("over"));
}
addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer.files);
});

/** Settles when the detector of the address is in use, or told to be missing. */
export const ready = query.has("model") ? loadBeside(query.get("model")) : Promise.resolve();
