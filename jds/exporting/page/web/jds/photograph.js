/** Decodes photographs and reads their pixels as they are in the file, upright. */

// No larger than this, a canvas is possible on every phone: 2048 by 512 pixels, or the other way round.
const WIDE = 2048;

/**
 * A decoded photograph.
 *
 * @typedef {object} Photograph
 * @property {CanvasImageSource} image
 * @property {number} width
 * @property {number} height
 */

/**
 * Decodes an image file.
 *
 * @param {Blob} file
 * @returns {Promise<Photograph>}
 */
export async function decode(file) {
  try {
    const options = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
    return of(await createImageBitmap(file, options));
  } catch {
    return of(await throughElement(file)); // older browsers do not know the options, or decode fewer formats here
  }
}

async function throughElement(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode();
    return image;
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

/** @param {ImageBitmap | HTMLImageElement} image @returns {Photograph} */
function of(image) {
  const [width, height] = image instanceof ImageBitmap ? [image.width, image.height] : [image.naturalWidth, image.naturalHeight];
  if (!width || !height) throw new Error("an image must have at least one pixel");
  return { image, width, height };
}

/** @param {HTMLVideoElement} video @returns {Promise<Photograph>} the picture that the camera shows now */
export async function frame(video) {
  return of(await createImageBitmap(video));
}

/**
 * Returns a picture whose pixels can be read, in parts that fit into a canvas: photographs have more pixels than a canvas
 * of a phone may have. Nothing is scaled.
 *
 * @param {Photograph} photograph
 * @returns {import("jds/resize.js").Picture}
 */
export function picture({ image, width, height }) {
  return { width, height, pixels: (...part) => pixels(image, ...part) };
}

async function pixels(image, left, top, width, height) {
  const out = new Uint8ClampedArray(width * height * 4);
  for (let x = 0; x < width; x += WIDE) {
    for (let y = 0; y < height; y += WIDE) {
      const [columns, rows] = [Math.min(WIDE, width - x), Math.min(WIDE, height - y)];
      const tile = await tileOf(image, left + x, top + y, columns, rows);
      for (let row = 0; row < rows; row++) {
        out.set(tile.subarray(row * columns * 4, (row + 1) * columns * 4), ((y + row) * width + x) * 4);
      }
    }
  }
  return out;
}

async function tileOf(image, left, top, width, height) {
  const tile = throughCanvas(image, left, top, width, height);
  // A canvas multiplies colors by alpha, which loses them where there is any.
  for (let i = 3; i < tile.length; i += 4) {
    if (tile[i] !== 255) return (await throughTexture(image, left, top, width, height)) ?? tile;
  }
  return tile;
}

let canvas;

function throughCanvas(image, left, top, width, height) {
  canvas ??= document.createElement("canvas");
  canvas.width = width; // also clears it
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, -left, -top);
  return context.getImageData(0, 0, width, height).data;
}

/** Returns null where there is no WebGL. */
async function throughTexture(image, left, top, width, height) {
  const gl = new OffscreenCanvas(1, 1).getContext("webgl");
  if (!gl) return null;
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const part = await createImageBitmap(image, left, top, width, height, options);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, part);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, gl.getParameter(gl.TEXTURE_BINDING_2D), 0);
  const out = new Uint8Array(width * height * 4);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, out);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return out;
}
