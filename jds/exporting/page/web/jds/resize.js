/**
 * Pillow's `Image.resize`, pixel by pixel: two passes of weighted sums in fixed-point arithmetic, with filters that widen
 * when an image shrinks. A canvas resizes otherwise, and not the same way in every browser.
 *
 * @typedef {object} Picture An image, read in parts, because a large photograph does not fit into a canvas of a phone.
 * @property {number} width
 * @property {number} height
 * @property {(left: number, top: number, width: number, height: number) => Promise<Uint8ClampedArray>} pixels
 *   returns a new array with the pixels of a part: red, green, blue and alpha, not premultiplied
 *
 * @typedef {[left: number, top: number, right: number, bottom: number]} Box in pixels
 *
 * @typedef {object} Taps The weighted sums along one axis; sum i is of `count[i]` pixels from `first[i]` on.
 * @property {Int32Array} first
 * @property {Int32Array} count
 * @property {Int32Array} weights `size` of them for each sum
 * @property {number} size
 */

// Weights are multiples of 2**-22, as in Pillow: 32 bits, less 8 of a pixel and 2 for sums beyond it.
const BITS = 22;
const HALF = 1 << (BITS - 1);
// Pixels in a strip; 4 MiB.
const STRIP = 2 ** 20;

/** @type {Record<string, {support: number, weight: (x: number) => number}>} */
const FILTERS = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: { support: 1, weight: hamming },
  bicubic: { support: 2, weight: bicubic },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** @param {number} x */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/** @param {number} x */
function hamming(x) {
  if (x === 0) return 1;
  // Pillow's constants are of single precision.
  return Math.abs(x) >= 1 ? 0 : sinc(x) * (Math.fround(0.54) + Math.fround(0.46) * Math.cos(x * Math.PI));
}

/** @param {number} x */
function bicubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

/**
 * Returns the sums from `from` to `to` of those that resize the interval `start` to `end` to `length` pixels.
 *
 * @param {number} available pixels along the axis
 * @param {number} start
 * @param {number} end
 * @param {number} length
 * @param {string} interpolation
 * @param {number} from
 * @param {number} to
 * @returns {Taps}
 */
function taps(available, start, end, length, interpolation, from, to) {
  // Pillow stores the interval in single precision.
  start = Math.fround(start);
  const scale = Math.fround(Math.fround(end) - start) / length;
  return interpolation === "nearest"
    ? nearestTaps(available, start, scale, from, to)
    : filterTaps(available, start, scale, FILTERS[interpolation], from, to);
}

/** As in Pillow, positions are added up, so that their rounding errors are, too. */
function nearestTaps(available, start, scale, from, to) {
  const first = new Int32Array(to - from);
  const count = new Int32Array(to - from);
  let position = start + scale * 0.5;
  for (let place = 0; place < to; place++, position += scale) {
    if (place < from || position < 0 || position >= available) continue;
    first[place - from] = Math.trunc(position);
    count[place - from] = 1;
  }
  return { first, count, weights: new Int32Array(to - from).fill(1 << BITS), size: 1 };
}

function filterTaps(available, start, scale, filter, from, to) {
  const widening = Math.max(scale, 1);
  const support = filter.support * widening;
  const size = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(to - from);
  const count = new Int32Array(to - from);
  const weights = new Int32Array((to - from) * size);
  const exact = new Float64Array(size);
  for (let place = from; place < to; place++) {
    const center = start + (place + 0.5) * scale;
    const low = Math.max(Math.trunc(center - support + 0.5), 0);
    const number = Math.min(Math.trunc(center + support + 0.5), available) - low;
    let sum = 0;
    for (let i = 0; i < number; i++) {
      exact[i] = filter.weight((i + low - center + 0.5) * (1 / widening));
      sum += exact[i];
    }
    for (let i = 0; i < number; i++) {
      const share = (sum === 0 ? exact[i] : exact[i] / sum) * 2 ** BITS;
      weights[(place - from) * size + i] = Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    }
    first[place - from] = low;
    count[place - from] = number;
  }
  return { first, count, weights, size };
}

/**
 * @typedef {object} Order Where the bytes of an array are: the lines that are summed along, and the pixels of a line.
 * @property {number} line distance of lines
 * @property {number} step distance of the pixels of a line
 */

/**
 * Sums the pixels of each line.
 *
 * @param {Uint8ClampedArray} source
 * @param {Order} from
 * @param {number} origin the pixel that lines begin with
 * @param {Taps} taps
 * @param {number} lines
 * @param {number} channels
 * @param {Uint8ClampedArray} out
 * @param {Order} to
 */
function sums(source, from, origin, { first, count, weights, size }, lines, channels, out, to) {
  const isLineByLine = from.step < from.line; // the order in which memory is read faster
  const [outer, inner] = isLineByLine ? [lines, first.length] : [first.length, lines];
  for (let i = 0; i < outer; i++) {
    for (let j = 0; j < inner; j++) {
      const [line, place] = isLineByLine ? [i, j] : [j, i];
      const start = line * from.line + (first[place] - origin) * from.step;
      for (let channel = 0; channel < channels; channel++) {
        let sum = HALF;
        let byte = start + channel;
        for (let tap = place * size; tap < place * size + count[place]; tap++, byte += from.step) {
          sum = (sum + Math.imul(source[byte], weights[tap])) | 0;
        }
        out[line * to.line + place * to.step + channel] = sum >> BITS; // the array clips it to a byte
      }
    }
  }
}

/** Reads a part of a picture. Gray is computed as in Pillow, and stored in the first byte of a pixel. */
async function read(picture, channels, left, top, width, height) {
  const pixels = await picture.pixels(left, top, width, height);
  for (let i = 0; channels === 1 && i < pixels.length; i += 4) {
    pixels[i] = (pixels[i] * 19595 + pixels[i + 1] * 38470 + pixels[i + 2] * 7471 + 0x8000) >> 16;
  }
  return pixels;
}

/** @param {Taps} taps @returns {[number, number]} the first pixel that is summed, and the one behind the last */
function extent({ first, count }) {
  const used = [...first.keys()].filter((place) => count[place] > 0);
  return [Math.min(...used.map((place) => first[place])), Math.max(...used.map((place) => first[place] + count[place]))];
}

/**
 * Resizes the part `box` of a picture to `width` by `height` pixels, and returns those in `kept`, without computing others.
 *
 * @param {Picture} picture
 * @param {[width: number, height: number]} size
 * @param {string} interpolation
 * @param {1 | 3} channels gray, or red, green and blue
 * @param {Box} kept
 * @param {Box} box
 * @returns {Promise<Uint8ClampedArray>} one byte a channel
 */
export async function resized(picture, [width, height], interpolation, channels, kept, box) {
  const across = taps(picture.width, box[0], box[2], width, interpolation, kept[0], kept[2]);
  const down = taps(picture.height, box[1], box[3], height, interpolation, kept[1], kept[3]);
  const [left, right] = extent(across);
  const [top, bottom] = extent(down);
  const columns = kept[2] - kept[0];
  const rows = kept[3] - kept[1];
  const out = new Uint8ClampedArray(columns * rows * channels);

  // The order of the passes changes how sums round. From version 13 on, Pillow begins with the one that shrinks more.
  if (picture.height > height && picture.height - height > 2 * (picture.width - width)) {
    const length = (right - left) * channels;
    const between = new Uint8ClampedArray(rows * length);
    const most = Math.max(1, Math.floor(STRIP / (bottom - top)));
    for (let x = left; x < right; x += most) {
      const number = Math.min(most, right - x);
      const strip = await read(picture, channels, x, top, number, bottom - top);
      const to = between.subarray((x - left) * channels);
      sums(strip, { line: 4, step: number * 4 }, top, down, number, channels, to, { line: channels, step: length });
    }
    const order = { line: length, step: channels };
    sums(between, order, left, across, rows, channels, out, { line: columns * channels, step: channels });
    return out;
  }

  const length = columns * channels;
  const between = new Uint8ClampedArray((bottom - top) * length);
  const most = Math.max(1, Math.floor(STRIP / (right - left)));
  for (let y = top; y < bottom; y += most) {
    const number = Math.min(most, bottom - y);
    const strip = await read(picture, channels, left, y, right - left, number);
    const to = between.subarray((y - top) * length);
    const order = { line: (right - left) * 4, step: 4 };
    sums(strip, order, left, across, number, channels, to, { line: length, step: channels });
  }
  sums(between, { line: channels, step: length }, top, down, columns, channels, out, { line: channels, step: length });
  return out;
}
