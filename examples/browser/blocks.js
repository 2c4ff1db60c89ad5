// Large pictures in blocks through the same graph, equal at the seams: ssim_ae/runtime/blocks.py.
// A block starts on the tile grid, so its tiles are the picture's own; what its edge does not know
// is left to the neighbour. A block takes about half a gigabyte: WebAssembly has four at most.
import { cut } from "./picture.js";
import { pictureScore } from "./score.js";

const MEMORY = 2 ** 29;
// bytes for each pixel and first-layer channel that the network sees, for each pixel and channel
const BYTES = { reference: [1.4, 461], joint: [22, 50] };
const REMEMBERED = 125; // bytes for each pixel: likeness to what a memory holds
const CELL = 16; // the joint network's grid

export function tiling(settings, reach, memory = MEMORY) {
  const joint = settings.network === "joint";
  const [tile, stride] = joint ? [CELL, CELL] : [settings.tile, settings.stride];
  const once = joint || settings.blend === "features";
  return { tile, stride, once, reach, memory, settings };
}

function fits({ tile, stride, once, memory, settings }, down, across) {
  const area = ((down - 1) * stride + tile) * ((across - 1) * stride + tile);
  const seen = once ? area : down * across * tile ** 2;
  const channels = settings.color === "grey" ? 1 : 3;
  const [network, residual] = BYTES[settings.network];
  const memorised = settings.residual?.terms.some((term) => term.kind === "memory");
  const taken = network * settings.first_layer_channels * seen + residual * channels * area;
  return taken + (memorised ? REMEMBERED * area : 0) <= memory;
}

const count = ({ tile, stride }, length) => Math.ceil((length - tile) / stride) + 1;

/** Tiles [down, across] of the blocks of a picture: as square as it allows. */
function block(grid, height, width) {
  let [down, across] = [count(grid, height), count(grid, width)];
  // a block must reach from one block's kept part past the next flush tile
  let side = Math.ceil((grid.tile + 2 * grid.reach) / grid.stride) + 1;
  while (fits(grid, side + 1, side + 1)) side++;
  while (across > side && !fits(grid, Math.min(down, side), across)) across--;
  while (down > side && !fits(grid, down, across)) down--;
  return [down, across];
}

/** [start, stop) of each block, and [from, to) of it that equals one pass; covers `length` once. */
export function cuts({ tile, stride, reach }, length, tiles) {
  const [size, margin, found] = [(tiles - 1) * stride + tile, tile - stride, []];
  let [start, from] = [0, 0];
  for (;;) {
    const stop = Math.min(start + size, length);
    const to = stop === length ? length : Math.min(stop - margin, length - tile) - reach;
    found.push({ start, stop, from, to });
    if (stop === length) return found;
    from = to;
    start = Math.floor((from - margin - reach) / stride) * stride;
  }
}

/**
 * Anomaly map (Float32Array) and score of a picture of any size.
 * `run(pixels, height, width)` takes what fits in memory and gives {map, score}.
 */
export async function runInBlocks(run, picture, grid) {
  const { pixels, height, width, channels } = picture;
  const [down, across] = block(grid, height, width);
  if (down === count(grid, height) && across === count(grid, width)) {
    return run(pixels, height, width);
  }
  const map = new Float32Array(height * width);
  for (const rows of cuts(grid, height, down)) {
    for (const columns of cuts(grid, width, across)) {
      const [h, w] = [rows.stop - rows.start, columns.stop - columns.start];
      const left = columns.start * channels;
      const part = cut(pixels, width * channels, rows.start, left, h, w * channels);
      const found = await run(part, h, w);
      for (let row = rows.from; row < rows.to; row++) {
        const at = (row - rows.start) * w - columns.start;
        const kept = found.map.subarray(at + columns.from, at + columns.to);
        map.set(kept, row * width + columns.from);
      }
    }
  }
  return { map, score: pictureScore(map, grid.settings.residual) };
}
