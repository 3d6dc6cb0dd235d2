/**
 * From a picture to the input of the network, as `jds.models.Preprocessing` computes it: sizes, rounding and arithmetic
 * are those of Python, Pillow and float32.
 *
 * @typedef {object} Preprocessing
 * @property {number} image_size
 * @property {number} crop
 * @property {"center" | "squash" | "border"} crop_mode
 * @property {string} interpolation
 * @property {number[]} mean
 * @property {number[]} std
 *
 * @typedef {object} Seen What the network sees of a picture.
 * @property {Uint8ClampedArray} pixels one byte a channel
 * @property {number} side height and width, in pixels
 * @property {number} channels
 * @property {import("jds/resize.js").Box} area the part of the picture, in its own pixels; it can be larger
 */
import { resized } from "jds/resize.js";

// For resized pictures with more pixels than this, jds resizes only the part that is kept, which rounds otherwise.
const MOST = 2 ** 26;
const BYTES = Uint8Array.from({ length: 256 }, (_, byte) => byte);

/** Rounds halves to even numbers, as Python does. */
function round(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** Returns width and height that a picture is resized to. */
function resizedSize(width, height, side, mode) {
  if (mode === "squash") return [side, side];
  if (mode === "border") {
    const ratio = Math.max(width / side, height / side);
    return [Math.max(1, round(width / ratio)), Math.max(1, round(height / ratio))];
  }
  const longer = Math.floor((side * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? [side, longer] : [longer, side];
}

/** Returns the start of a centered interval, which is negative if it is longer than `length`. */
function start(length, kept) {
  return length >= kept ? round((length - kept) / 2) : -Math.floor((kept - length) / 2);
}

/** Returns a part of a picture, and the box in it, so that the coordinates of the box are small. */
function near(picture, size, kept) {
  const source = [0, 0, 0, 0];
  const inner = [0, 0, 0, 0];
  [picture.width, picture.height].forEach((length, axis) => {
    const scale = length / size[axis];
    const reach = 3 * Math.max(scale, 1) + 1; // the support of the widest filter
    const first = kept[axis] * scale;
    const last = kept[axis + 2] * scale;
    source[axis] = Math.max(0, Math.floor(first - reach));
    source[axis + 2] = Math.min(length, Math.ceil(last + reach));
    inner[axis] = first - source[axis];
    inner[axis + 2] = Math.min(last - source[axis], source[axis + 2] - source[axis]);
  });
  const [left, top, right, bottom] = source;
  const pixels = (x, y, width, height) => picture.pixels(left + x, top + y, width, height);
  return { part: { width: right - left, height: bottom - top, pixels }, box: inner };
}

/**
 * Resizes a picture and crops its center.
 *
 * @param {import("jds/resize.js").Picture} picture
 * @param {Preprocessing} preprocessing
 * @returns {Promise<Seen>}
 */
export async function seen(picture, preprocessing) {
  const { image_size: side, crop, crop_mode: mode, interpolation, mean } = preprocessing;
  const channels = mean.length === 1 ? 1 : 3;
  const size = resizedSize(picture.width, picture.height, Math.max(1, Math.floor(side / crop)), mode);
  const [left, top] = size.map((length) => start(length, side));
  const kept = [Math.max(left, 0), Math.max(top, 0), Math.min(left + side, size[0]), Math.min(top + side, size[1])];
  const [width, height] = [kept[2] - kept[0], kept[3] - kept[1]];
  let part;
  if (size[0] * size[1] > MOST) {
    const cropped = near(picture, size, kept);
    part = await resized(cropped.part, [width, height], interpolation, channels, [0, 0, width, height], cropped.box);
  } else {
    part = await resized(picture, size, interpolation, channels, kept, [0, 0, picture.width, picture.height]);
  }
  const pixels = new Uint8ClampedArray(side * side * channels);
  const fill = mean.map((value) => (mode === "border" ? round(255 * value) : 0));
  for (let i = 0; i < pixels.length; i++) pixels[i] = fill[i % channels];
  for (let row = 0; row < height; row++) {
    const to = ((row + Math.max(-top, 0)) * side + Math.max(-left, 0)) * channels;
    pixels.set(part.subarray(row * width * channels, (row + 1) * width * channels), to);
  }
  const [x, y] = [picture.width / size[0], picture.height / size[1]];
  return { pixels, side, channels, area: [left * x, top * y, (left + side) * x, (top + side) * y] };
}

/**
 * Returns the input of the network.
 *
 * @param {Seen} image
 * @param {Preprocessing} preprocessing
 * @param {"pixels" | "normalized"} input whether the network takes bytes, or numbers less the mean, by the deviation
 * @param {"NCHW" | "NHWC"} layout
 * @returns {Uint8Array | Float32Array}
 */
export function inputOf(image, { mean, std }, input, layout) {
  const { pixels, channels } = image;
  const area = pixels.length / channels;
  const out = input === "pixels" ? new Uint8Array(pixels.length) : new Float32Array(pixels.length);
  for (let channel = 0; channel < channels; channel++) {
    const values = input === "pixels" ? BYTES : normalized(mean[channel], std[channel]);
    for (let place = 0; place < area; place++) {
      const to = layout === "NCHW" ? channel * area + place : place * channels + channel;
      out[to] = values[pixels[place * channels + channel]];
    }
  }
  return out;
}

/** Returns the normalized value of each byte, with each step rounded to single precision. */
function normalized(mean, std) {
  const float = Math.fround;
  return Float32Array.from(BYTES, (byte) => float(float(float(byte / 255) - float(mean)) / float(std)));
}
