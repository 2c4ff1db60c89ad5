// What a detector.onnx says about itself. ONNX Runtime Web does not hand out a model's metadata, so
// this walks the protobuf fields: ModelProto.metadata_props = 14 (key = 1, value = 2), and the two
// thresholds that the graph itself holds: graph = 7, initializer = 5, name = 8, raw_data = 9.

export const FORMAT = 10; // the newest detector format that this page reads
const [GRAPH, METADATA, INITIALIZER, NAME, RAW] = [7, 14, 5, 8, 9];
const CONSTANTS = { score_threshold: "score", pixel_threshold: "pixel" };

// What the page needs of the record, and how it must look.
const whole = (low) => (v) => Number.isInteger(v) && v >= low;
const optional = (check) => (v) => v === null || check(v);
const FIELDS = {
  color: (v) => v === "grey" || v === "rgb",
  resize: optional(whole(11)),
  centre_crop: optional(whole(11)),
  depth: (v) => whole(8)(v) && v <= 16,
  network: (v) => v === "reference" || v === "joint",
  blend: (v) => v === "pixels" || v === "features",
  tile: (v) => v === 128 || v === 256,
  stride: whole(1),
  first_layer_channels: whole(1),
};
// Settings that files older than these settings do not hold.
const OLDER = { network: "reference", blend: "pixels", centre_crop: null, depth: 16 };

/** Bytes of a detector -> its record, thresholds required. Errors are one line: what, where, cure. */
export function readRecord(bytes, name) {
  let entries, constants;
  try {
    ({ entries, constants } = walk(bytes));
  } catch (error) {
    const why = error.message;
    throw new Error(`${name}: is no detector or is damaged (${why}): copy it again, or train anew`);
  }
  if (!("ssim_ae" in entries)) {
    throw new Error(
      `${name}: is an ONNX file, but no ssim-ae detector: choose a run folder's detector.onnx`,
    );
  }
  const damaged = (what) => new Error(`${name}: its record is damaged (${what}): copy it again`);
  let record;
  try {
    record = JSON.parse(entries.ssim_ae);
  } catch {
    throw damaged("not JSON");
  }
  if (!Number.isInteger(record?.format)) throw damaged("format");
  if (record.format > FORMAT) {
    throw new Error(
      `${name}: detector format ${record.format} is newer than ${FORMAT}: take this page from ` +
        "the ssim-ae that trained it",
    );
  }
  const settings = { ...OLDER, ...record.settings };
  for (const [key, good] of Object.entries(FIELDS)) {
    if (!good(settings[key])) throw damaged(`settings.${key}`);
  }
  if (!whole(0)(record.reach)) throw damaged("reach");
  const { thresholds } = record;
  if (!thresholds) {
    throw new Error(`${name}: is not calibrated: run \`ssim-ae calibrate\` first`);
  }
  for (const key of ["score", "pixel"]) {
    if (!Number.isFinite(thresholds[key])) throw damaged(`thresholds.${key}`);
  }
  for (const [constant, value] of Object.entries(constants)) {
    if (value !== Math.fround(thresholds[CONSTANTS[constant]])) {
      throw new Error(
        `${name}: its graph has other thresholds than its record: calibrate it again`,
      );
    }
  }
  return { ...record, settings };
}

function walk(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (part) => {
    if (!part) return "";
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(...part));
  };
  const parts = (range) => Object.fromEntries(fields(bytes, ...range));
  const [entries, constants] = [{}, {}];
  let hasGraph = false;
  for (const [field, range] of fields(bytes, 0, bytes.length)) {
    if (field === METADATA) {
      const entry = parts(range);
      entries[text(entry[1])] = text(entry[2]);
    }
    if (field !== GRAPH) continue;
    hasGraph = true;
    for (const [inner, tensor] of fields(bytes, ...range)) {
      if (inner !== INITIALIZER) continue;
      const found = parts(tensor);
      const name = text(found[NAME]);
      if (!(name in CONSTANTS) || !found[RAW]) continue;
      if (found[RAW][1] - found[RAW][0] !== 4) throw new Error(`${name} is no float32`);
      constants[name] = view.getFloat32(found[RAW][0], true);
    }
  }
  if (!hasGraph) throw new Error("no ONNX graph inside");
  return { entries, constants };
}

/** [field number, [start, end] of its body] of each protobuf field between two offsets. */
function* fields(bytes, at, end) {
  const varint = () => {
    // by multiplication: shifts would cut lengths at 31 bits
    for (let value = 0, unit = 1; at < end && unit < 2 ** 64; unit *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * unit;
      if (byte < 128) return value;
    }
    throw new Error("truncated protobuf message");
  };
  while (at < end) {
    const tag = varint();
    const [field, kind] = [Math.floor(tag / 8), tag % 8];
    let start = at;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const size = varint();
      start = at;
      at += size;
    } else throw new Error("not a protobuf message");
    if (at > end || field === 0) throw new Error("truncated protobuf message");
    yield [field, [start, at]];
  }
}
