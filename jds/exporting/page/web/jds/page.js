/** The page: loads the network, takes photographs, and shows what the network says of them. */
import * as camera from "jds/camera.js";
import { read } from "jds/files.js";
import { decode, frame, picture } from "jds/photograph.js";
import { inputOf, seen } from "jds/preprocess.js";
import { best } from "jds/rank.js";
import { open } from "jds/runtime.js";
import { allowedThreads } from "jds/threads.js";
import * as view from "jds/view.js";

const UNLOADED =
  "Reload the page. If that does not help, close other pages and programs to free memory, or use another browser: " +
  "Chrome 91, Safari 16.4, Firefox 113 or a later version.";

const element = (id) => /** @type {any} */ (document.getElementById(id));
const video = element("video");
const network = load();
let description;
let latest = 0; // number of the photograph that was chosen last

/** Returns a function that runs the network, once it has run on an empty image; the first run takes longer. */
async function load() {
  description = JSON.parse(new TextDecoder().decode(await read("description.json")));
  view.showNetwork(description);
  const model = await read(description.model);
  const run = await start(model, allowedThreads());
  const { image_size: side, mean } = description.preprocessing;
  const empty = new Uint8ClampedArray(side * side * mean.length);
  await run(input({ pixels: empty, side, channels: mean.length }));
  return run;
}

async function start(model, threads) {
  try {
    return await open(model, threads);
  } catch (error) {
    if (threads === 1) throw error;
    return open(model, 1);
  }
}

function input(image) {
  return inputOf(image, description.preprocessing, description.input, description.layout);
}

/** Classifies a photograph, unless another one is chosen meanwhile. */
async function classify(photograph) {
  const number = ++latest;
  const run = await network;
  const began = performance.now();
  const image = await seen(picture(photograph), description.preprocessing);
  const tensor = input(image);
  const read = performance.now();
  const scores = await run(tensor);
  const ended = performance.now();
  if (number !== latest) return;
  view.showSeen(image, photograph);
  view.showResults(best(scores, description.output, description.labels), { reading: read - began, network: ended - read });
  view.showStatus("");
  document.dispatchEvent(new CustomEvent("classified", { detail: { tensor, scores: Array.from(scores) } }));
}

/** Shows and classifies a photograph. */
async function show(photograph, name) {
  view.showError();
  view.showPhotograph(photograph, name);
  view.showNoResults();
  view.showStatus("Classifying …");
  try {
    await classify(photograph);
  } catch (error) {
    fail(`The photograph could not be classified (${error.message}).`);
  }
}

async function choose(file) {
  if (!file) return;
  stopCamera();
  const number = ++latest;
  let photograph;
  try {
    photograph = await decode(file);
  } catch {
    if (number === latest) fail(`“${file.name}” is not an image that this browser can read, or it is too large for it.`);
    return;
  }
  if (number === latest) await show(photograph, file.name);
}

function fail(text) {
  view.showNoResults();
  view.showStatus("");
  view.showError(text);
}

async function startCamera() {
  view.showError();
  try {
    await camera.start(video);
  } catch (error) {
    camera.stop(video);
    return fail(camera.reason(error));
  }
  latest++;
  view.showCamera();
  view.showNoResults();
  view.showStatus("Looking …");
  view.announce(false);
  element("camera").textContent = "Take the photograph";
  try {
    while (camera.isOn()) {
      await classify(await frame(video));
      await new Promise(requestAnimationFrame);
    }
  } catch (error) {
    if (!camera.isOn()) return;
    stopCamera();
    fail(`The camera's picture could not be classified (${error.message}).`);
  }
}

function stopCamera() {
  if (!camera.isOn()) return;
  latest++;
  camera.stop(video);
  view.showNothing();
  view.announce(true);
  element("camera").textContent = "Use the camera";
}

async function takePhotograph() {
  const photograph = await frame(video);
  stopCamera();
  await show(photograph, "The camera's photograph");
}

function listen() {
  for (const id of ["file", "shot"]) {
    element(id).addEventListener("change", ({ target }) => {
      choose(target.files[0]);
      target.value = ""; // so that the same file can be chosen again
    });
  }
  element("camera").addEventListener("click", () => (camera.isOn() ? takePhotograph() : startCamera()));
  // Without access to the camera, phones still take a photograph for a file input.
  element("camera").hidden = !camera.isPossible;
  element("shot").hidden = element("shot-label").hidden = camera.isPossible || navigator.maxTouchPoints === 0;

  const target = (isOn) => element("stage").classList.toggle("target", isOn);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    target(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && target(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    target(false);
    choose(event.dataTransfer.files[0]);
  });
}

listen();
try {
  await network;
  if (latest === 0) view.showStatus("The network is ready.");
} catch (error) {
  fail(`The network did not load (${error.message}). ${UNLOADED}`);
}
