// A picture file in, pixels at working size out, and maps back to the picture's own size: what
// ssim_ae/data/images.py and working_size.py do, so that the network sees the same bytes.
import { resample } from "./resample.js";

/** A file -> {pixels, height, width, channels}; grey (channels 1) or RGB (3), 8 bit. */
export async function decode(file, name, { color, depth }) {
  if (depth !== 16 && isDeepPng(new Uint8Array(await file.slice(0, 25).arrayBuffer()))) {
    throw new Error(
      `${name}: has 16 bits, of which the detector counts ${depth} and a browser keeps the ` +
        `highest 8: save it as 8 bits (value * 255 / ${2 ** depth - 1}, rounded)`,
    );
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
      imageOrientation: "from-image",
    });
  } catch {
    throw new Error(`${name}: cannot be decoded by this browser: save it as PNG, or remove it`);
  }
  const { width, height } = bitmap;
  let data;
  try {
    const context = new OffscreenCanvas(width, height).getContext("2d", {
      willReadFrequently: true,
    });
    context.drawImage(bitmap, 0, 0);
    ({ data } = context.getImageData(0, 0, width, height));
  } catch {
    throw new Error(
      `${name}: ${width}x${height} pixels are too many for this browser: cut it into pieces`,
    );
  } finally {
    bitmap.close();
  }
  return { ...toPixels(data, name, color), height, width };
}

/** By a file's first 25 bytes, whether it is a PNG of 16 bits a channel. */
export function isDeepPng(head) {
  return [0x89, 0x50, 0x4e, 0x47].every((byte, i) => head[i] === byte) && head[24] === 16;
}

/** RGBA of a canvas -> grey by ITU-R 601 in Pillow's integers, or RGB. */
export function toPixels(rgba, name, color) {
  const count = rgba.length / 4;
  for (let at = 3; at < rgba.length; at += 4) {
    if (rgba[at] !== 255) {
      throw new Error(
        `${name}: has transparent pixels, whose colours a browser does not keep: save it ` +
          "without transparency",
      );
    }
  }
  if (color === "grey") {
    const pixels = new Uint8Array(count);
    for (let i = 0, at = 0; i < count; i++, at += 4) {
      const luma = rgba[at] * 19595 + rgba[at + 1] * 38470 + rgba[at + 2] * 7471;
      pixels[i] = (luma + 0x8000) >> 16;
    }
    return { pixels, channels: 1 };
  }
  const pixels = new Uint8Array(3 * count);
  for (let at = 0, to = 0; at < rgba.length; at += 4) {
    pixels[to++] = rgba[at];
    pixels[to++] = rgba[at + 1];
    pixels[to++] = rgba[at + 2];
  }
  return { pixels, channels: 3 };
}

/** Short side to `resize`, aspect kept, then the centre square of `centre_crop`. */
export function geometry(height, width, { resize, centre_crop: side }) {
  let scaled = [height, width];
  if (resize !== null) {
    const factor = resize / Math.min(height, width);
    scaled = [height, width].map((length) => Math.max(1, roundHalfEven(length * factor)));
  }
  const [h, w] = scaled.map((length) => Math.min(side ?? length, length));
  const [top, left] = [(scaled[0] - h) >> 1, (scaled[1] - w) >> 1];
  return { original: [height, width], scaled, crop: { top, left, h, w } };
}

/** As Python rounds: a half goes to the even neighbour. */
function roundHalfEven(value) {
  const low = Math.floor(value);
  const half = value - low - 0.5;
  if (half !== 0) return half > 0 ? low + 1 : low;
  return low % 2 === 0 ? low : low + 1;
}

/** A decoded picture at working size: {pixels, height, width, channels}. */
export function prepare({ pixels, height, width, channels }, { scaled, crop }) {
  const filter = scaled[0] <= height ? "box" : "bicubic";
  const resized = resample(pixels, [height, width, channels], scaled, filter);
  return {
    pixels: cut(resized, scaled[1] * channels, crop.top, crop.left * channels, crop.h,
      crop.w * channels),
    height: crop.h,
    width: crop.w,
    channels,
  };
}

/** Rows and columns out of a row-major array of a given width. */
export function cut(values, width, top, left, h, w) {
  if (left === 0 && w === width && top === 0 && h * w === values.length) return values;
  const out = new values.constructor(h * w);
  for (let row = 0; row < h; row++) {
    const from = (top + row) * width + left;
    out.set(values.subarray(from, from + w), row * w);
  }
  return out;
}

/** Working-size map -> original size; what the crop cut off becomes 0. */
export function mapToOriginal(map, { original, scaled, crop: { top, left, h, w } }) {
  let whole = map;
  if (h !== scaled[0] || w !== scaled[1]) {
    whole = new Float32Array(scaled[0] * scaled[1]);
    for (let row = 0; row < h; row++) {
      whole.set(map.subarray(row * w, (row + 1) * w), (top + row) * scaled[1] + left);
    }
  }
  return resample(whole, [...scaled, 1], original, "bilinear");
}

/** The original pixel [row, column] under the middle of a working-size pixel. */
export function toOriginal(row, column, { original, scaled, crop: { top, left } }) {
  const at = (i, axis) => Math.trunc(((i + 0.5) * original[axis]) / scaled[axis]);
  return [
    Math.min(at(row + top, 0), original[0] - 1),
    Math.min(at(column + left, 1), original[1] - 1),
  ];
}
