/**
 * The files of the page: beside it, or inside it. `unpack.js` leaves those inside in `jdsFiles`.
 */

/** @type {Record<string, Blob>} */
const inside = globalThis.jdsFiles ?? {};

/** Whether the page is a single file. */
export const isOneFile = globalThis.jdsFiles !== undefined;

/** @param {string} path @returns {string} the address of a file */
export function address(path) {
  return isOneFile ? URL.createObjectURL(inside[path]) : new URL(path, document.baseURI).href;
}

/** @param {string} path @returns {Promise<Uint8Array>} the bytes of a file */
export async function read(path) {
  if (isOneFile) return new Uint8Array(await inside[path].arrayBuffer());
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}
