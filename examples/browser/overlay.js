// Heat map whose colours hang on the pixel threshold, never on the picture: below half of it the
// picture stays as it is, at the threshold it is yellow, at twice the threshold red; marked regions
// get an outline. A good part looks calm. A threshold that is not above 0 has no half: then nothing up
// to it is coloured, and red is as far above it as the score threshold, and at least one unit.

const [YELLOW, RED, EDGE] = [[255, 220, 0], [220, 0, 30], [255, 0, 200]];
const OPACITY = 0.6;
const NONE = 1e-6; // of a unit of the map: no threshold to colour by
const SHOWN = 900; // an outline of one pixel would vanish where a larger picture is shown smaller

/** RGBA of the decoded picture itself. */
export function rgba({ pixels, channels, height, width }) {
  const out = new Uint8ClampedArray(4 * height * width).fill(255);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) out[4 * i + c] = pixels[channels === 3 ? 3 * i + c : i];
  }
  return out;
}

/** RGBA with heat and outline, at the picture's own size. */
export function overlay(picture, map, mask, { pixel, score }) {
  const red = pixel > NONE ? 2 * pixel : Math.max(score, pixel + 1);
  const out = rgba(picture);
  const edge = outline(mask, picture.height, picture.width);
  for (let i = 0, at = 0; i < map.length; i++, at += 4) {
    const calm = pixel <= NONE && map[i] <= pixel;
    const relative = calm ? 0 : 1 + (map[i] - pixel) / (red - pixel);
    if (edge[i]) {
      out.set(EDGE, at);
    } else if (relative > 0.5) {
      const heat = clip(relative - 1);
      const opacity = OPACITY * clip(2 * relative - 1);
      for (let c = 0; c < 3; c++) {
        const colour = YELLOW[c] * (1 - heat) + RED[c] * heat;
        out[at + c] = Math.trunc(out[at + c] * (1 - opacity) + colour * opacity);
      }
    }
  }
  return out;
}

const clip = (value) => Math.min(1, Math.max(0, value));

/** The pixels around marked regions, one wide on small pictures, wider on large ones. */
function outline(mask, height, width) {
  const edge = new Uint8Array(mask.length);
  let front = [];
  for (let i = 0; i < mask.length; i++) if (mask[i]) front.push(i);
  for (let ring = Math.ceil(Math.max(height, width) / SHOWN); ring > 0; ring--) {
    const next = [];
    const grow = (i) => {
      if (mask[i] || edge[i]) return;
      edge[i] = 1;
      next.push(i);
    };
    for (const i of front) {
      const column = i % width;
      if (column > 0) grow(i - 1);
      if (column < width - 1) grow(i + 1);
      if (i >= width) grow(i - width);
      if (i < mask.length - width) grow(i + width);
    }
    front = next;
  }
  return edge;
}
