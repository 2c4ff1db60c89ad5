// What a result looks like.

const element = (id) => document.getElementById(id);

/** A card with verdict, score, picture and overlay. */
export function showCard(found, thresholds, note) {
  const card = element("card").content.cloneNode(true).firstElementChild;
  const part = (selector) => card.querySelector(selector);
  const { name, score, defective, width, height, milliseconds } = found;
  card.classList.add(defective ? "defective" : "good");
  card.classList.toggle("wide", width > 2 * height);
  part(".verdict").textContent = defective ? "defective" : "good";
  part("h3").textContent = name;
  part(".time").textContent = `${Math.round(milliseconds.all)} ms`;
  part(".time").title =
    `reading ${milliseconds.prepare.toFixed(0)} ms, engine ${milliseconds.run.toFixed(0)} ms`;
  // the threshold stands in the middle, as long as it is positive
  const filled = thresholds.score > 0 ? score / thresholds.score / 2 : 0;
  part(".gauge i").style.width = `${100 * Math.min(1, Math.max(0, filled))}%`;
  part(".score").textContent =
    `score ${score.toFixed(4)}, threshold ${thresholds.score.toFixed(4)} · ${width}×${height}`;
  if (note) part(".score").after(paragraph("note", note));
  const [plain, heat] = card.querySelectorAll("canvas");
  paint(plain, found.picture, width, height, name);
  paint(heat, found.overlay, width, height, `overlay of ${name}`);
  readOut(heat, found, thresholds.pixel);
  delete found.picture; // the canvases hold them now
  delete found.overlay;
  return card;
}

function paint(canvas, values, width, height, label) {
  canvas.width = width;
  canvas.height = height;
  canvas.style.maxWidth = `calc(60vh * ${width / height})`; // tall ones fit on the screen
  canvas.setAttribute("aria-label", label);
  canvas.getContext("2d").putImageData(new ImageData(values, width, height), 0, 0);
}

/** Under the pointer: the map's value, in pixel thresholds. */
function readOut(canvas, { map, width }, pixelThreshold) {
  const caption = canvas.nextElementSibling;
  canvas.addEventListener("pointermove", ({ offsetX, offsetY }) => {
    const at = (offset, shown, own) => Math.min(own - 1, Math.floor((offset * own) / shown));
    const x = at(offsetX, canvas.clientWidth, canvas.width);
    const y = at(offsetY, canvas.clientHeight, canvas.height);
    const value = map[y * width + x] / pixelThreshold;
    caption.textContent = `${x}, ${y}: ${value.toFixed(2)} × threshold`;
  });
  canvas.addEventListener("pointerleave", () => (caption.textContent = "overlay"));
}

export function showError(line) {
  element("errors").prepend(paragraph("error", line));
}

export function showSummary(results) {
  const defective = results.filter((found) => found.defective).length;
  const pictures = results.length === 1 ? "1 picture" : `${results.length} pictures`;
  element("summary").textContent =
    `${pictures}: ${results.length - defective} good, ${defective} defective`;
  element("bar").hidden = results.length === 0;
}

function paragraph(className, text) {
  const p = document.createElement("p");
  p.className = className;
  p.textContent = text;
  return p;
}
