// Resampling as Pillow does it, bit for bit: a separable filter, widened when shrinking, first along
// the rows, then along the columns. 8-bit pictures are summed in integers with weights of 22
// fractional bits and rounded after each pass; float maps are summed in double, kept as float32.

const BITS = 22;
const FILTERS = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, weight: bicubic },
};

/** Keys' cubic with a = -0.5. */
function bicubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/**
 * [height, width, channels] -> [newHeight, newWidth, channels].
 * Uint8Array in, Uint8Array out; Float32Array in, Float32Array out.
 */
export function resample(values, [height, width, channels], [newHeight, newWidth], filter) {
  if (newWidth !== width) {
    values = along(values, height, width, channels, newWidth, filter);
  }
  if (newHeight !== height) {
    values = along(values, 1, height, newWidth * channels, newHeight, filter);
  }
  return values;
}

/** [outer, length, inner] -> [outer, target, inner]. */
function along(values, outer, length, inner, target, filter) {
  const eightBit = values instanceof Uint8Array;
  const out = new values.constructor(outer * target * inner);
  const sums = new Float64Array(inner);
  const taps = Array.from({ length: target }, (_, i) => weights(i, length, target, filter));
  for (let o = 0; o < outer; o++) {
    for (let t = 0; t < target; t++) {
      const { first, share } = taps[t];
      sums.fill(eightBit ? 2 ** (BITS - 1) : 0);
      for (let k = 0; k < share.length; k++) {
        const weight = eightBit ? fixed(share[k]) : share[k];
        const from = (o * length + first + k) * inner;
        for (let i = 0; i < inner; i++) sums[i] += values[from + i] * weight;
      }
      const to = (o * target + t) * inner;
      for (let i = 0; i < inner; i++) {
        out[to + i] = eightBit ? Math.min(255, Math.max(0, sums[i] >> BITS)) : sums[i];
      }
    }
  }
  return out;
}

/** Which source values make one target value, and their shares, which add up to one. */
function weights(index, length, target, filter) {
  const { support, weight } = FILTERS[filter];
  const scale = length / target;
  const widened = Math.max(scale, 1);
  const [centre, reach, inverse] = [(index + 0.5) * scale, support * widened, 1 / widened];
  const first = Math.max(0, Math.trunc(centre - reach + 0.5));
  const end = Math.min(length, Math.trunc(centre + reach + 0.5));
  const share = [];
  let sum = 0;
  for (let i = first; i < end; i++) {
    share.push(weight((i - centre + 0.5) * inverse));
    sum += share.at(-1);
  }
  return { first, share: sum === 0 ? share : share.map((value) => value / sum) };
}

/** Rounded half away from zero. */
function fixed(share) {
  return Math.trunc(share * 2 ** BITS + (share < 0 ? -0.5 : 0.5));
}
