/** Runs a `.onnx` file in ONNX Runtime's web runtime. */
import { read } from "jds/files.js";

/**
 * Returns a function that runs the network.
 *
 * @param {Uint8Array} model
 * @param {number} threads
 * @returns {Promise<(values: Uint8Array | Float32Array) => Promise<Float32Array>>}
 */
export async function open(model, threads) {
  // Two names of one file: the runtime cannot be started again after it failed, but a second copy of it can.
  const { env, InferenceSession, Tensor } = await import(threads > 1 ? "onnxruntime-web/threads" : "onnxruntime-web");
  env.wasm.numThreads = threads;
  env.wasm.initTimeout = 30_000;
  env.wasm.wasmBinary = await read("runtime/ort-wasm-simd-threaded.wasm");
  env.logLevel = "fatal";
  const session = await InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 4 });
  const [{ type, shape }] = session.inputMetadata;
  // A free batch has a name in place of a number.
  const dims = shape.map((length) => (typeof length === "number" ? length : 1));
  return async (values) => {
    const outputs = await session.run({ [session.inputNames[0]]: new Tensor(type, values, dims) });
    return outputs[session.outputNames[0]].data;
  };
}
