/** Runs a `.tflite` file in LiteRT's web runtime. */
import { loadAndCompile, loadLiteRt, supportsFeature, Tensor } from "@litertjs/core";
import { address, isOneFile, read } from "jds/files.js";
import { prepare } from "jds/loader.js";

const THREADED = "litert_wasm_threaded_internal";

/**
 * Returns a function that runs the network.
 *
 * @param {Uint8Array} model
 * @param {number} threads
 * @returns {Promise<(values: Uint8Array | Float32Array) => Promise<Float32Array>>}
 */
export async function open(model, threads) {
  const build = await bestBuild(threads);
  const quiet = () => {}; // LiteRT writes its log to the error stream
  prepare({ wasmBinary: await read(`runtime/${build}.wasm`), print: quiet, printErr: quiet });
  await loadLiteRt(`${address(`runtime/${build}.js`)}#.js`); // a path that ends in `.js` is used as it is
  const numThreads = build === THREADED ? threads : 1;
  const compiled = await loadAndCompile(model, { accelerator: "wasm", cpuOptions: { numThreads } });
  const [{ shape }] = compiled.getInputDetails();
  return async (values) => {
    const input = new Tensor(values, shape);
    const outputs = await compiled.run([input]);
    const scores = await outputs[0].data();
    for (const tensor of [input, ...outputs]) tensor.delete();
    return scores;
  };
}

/** Returns the name of the fastest build that the browser can run. A page of one file has the one for all browsers. */
async function bestBuild(threads) {
  if (isOneFile || !(await supportsFeature("relaxedSimd"))) return "litert_wasm_compat_internal";
  return threads > 1 ? THREADED : "litert_wasm_internal";
}
