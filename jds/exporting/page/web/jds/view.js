/** Shows the photograph, what the network sees of it, and the results. */

// Pixels of the longer side of the photograph on the page, which is only for the eye.
const SHOWN = 1200;

const element = (id) => /** @type {any} */ (document.getElementById(id));

/** Shows what the page is about. */
export function showNetwork({ name, preprocessing, runtime }) {
  document.title = name;
  element("name").textContent = name;
  const side = preprocessing.image_size;
  element("size").textContent = `${side} × ${side} pixels`;
  element("about").textContent = `${name} in ${runtime}, made with jds.`;
}

/** Shows a line on what happens; an empty one hides it. */
export function showStatus(text) {
  element("status").textContent = text;
  element("status").hidden = !text;
}

/** Shows what went wrong and what to do; nothing hides it. */
export function showError(text = "") {
  element("error").textContent = text;
  element("error").hidden = !text;
}

/** Shows a photograph. @param {import("jds/photograph.js").Photograph} photograph @param {string} name */
export function showPhotograph({ image, width, height }, name) {
  const canvas = element("photograph");
  const scale = Math.min(1, SHOWN / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.setAttribute("aria-label", name);
  showStage(canvas);
}

/** Shows the camera's picture. */
export function showCamera() {
  showStage(element("video"));
}

/** Removes the picture. */
export function showNothing() {
  element("hint").hidden = false;
  element("frame").hidden = true;
}

function showStage(shown) {
  element("hint").hidden = true;
  element("frame").hidden = false;
  element("crop").hidden = true;
  for (const id of ["photograph", "video"]) element(id).hidden = element(id) !== shown;
}

/** Shows what the network sees. @param {import("jds/preprocess.js").Seen} seen */
export function showSeen({ pixels, side, channels, area }, { width, height }) {
  const [left, top, right, bottom] = area;
  const percent = (value, length) => `${Math.min(100, Math.max(0, (100 * value) / length))}%`;
  const crop = element("crop");
  crop.hidden = false;
  crop.style.inset = [percent(top, height), percent(width - right, width), percent(height - bottom, height), percent(left, width)].join(" ");

  const canvas = element("seen");
  canvas.width = canvas.height = side;
  canvas.setAttribute("aria-label", `The part of the photograph that the network sees, ${side} by ${side} pixels`);
  const image = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * i + channel] = pixels[channels * i + (channels === 1 ? 0 : channel)];
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Shows the best classes and times. @param {{label: string, probability: number}[]} classes */
export function showResults(classes, milliseconds) {
  element("results").replaceChildren(...classes.map(row));
  element("network-time").textContent = time(milliseconds.network);
  element("reading-time").textContent = time(milliseconds.reading);
  element("details").hidden = false;
}

/** Removes the results. */
export function showNoResults() {
  element("results").replaceChildren();
  element("details").hidden = true;
}

/** Announces results, or not: those of the live camera would be read all the time. */
export function announce(isOn) {
  element("results").setAttribute("aria-live", isOn ? "polite" : "off");
}

function row({ label, probability }) {
  const item = document.createElement("li");
  const share = `${(100 * probability).toFixed(1)}%`;
  const bar = part("bar", "");
  bar.append(part("", ""));
  bar.firstChild.style.width = share;
  item.append(part("label", label), part("share", share), bar);
  return item;
}

function part(name, text) {
  const made = document.createElement("div");
  if (name) made.className = name;
  made.textContent = text;
  return made;
}

function time(milliseconds) {
  return `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
}
