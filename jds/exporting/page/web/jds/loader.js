/**
 * Stands in for `@litertjs/wasm-utils`, from which `@litertjs/core` imports one function, so that the WebAssembly may
 * come from bytes, and a start that never ends is an error.
 */

const SECONDS = 30;
let settings = {};

/** Sets what the next start is given: Emscripten's settings, with the WebAssembly in `wasmBinary`. */
export function prepare(next) {
  settings = next;
}

/** Runs the script of a build of LiteRT, starts the build, and wraps it. */
export async function createWasmLib(Library, script) {
  await (globalThis.importScripts ?? addScript)(script);
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the runtime did not start within ${SECONDS} seconds`)), SECONDS * 1000);
  });
  try {
    return new Library(await Promise.race([globalThis.ModuleFactory(settings), late]));
  } finally {
    clearTimeout(timer);
  }
}

/** Adds a script to the page, which makes its variables global. */
function addScript(address) {
  const element = document.createElement("script");
  element.src = address;
  return new Promise((resolve, reject) => {
    element.addEventListener("load", resolve);
    element.addEventListener("error", () => reject(new Error(`${address} did not load`)));
    document.head.append(element);
  });
}
