// Runs modules of the page in Node, which tests call: node page_in_node.mjs WEB TASK < arguments.json > results.json
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire, registerHooks } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import vm from "node:vm";

const [web, task] = process.argv.slice(2);
const given = JSON.parse(readFileSync(0, "utf8"));

/** A picture in a file of raw bytes. */
function picture({ file, width, height }) {
  const bytes = readFileSync(file);
  const pixels = async (left, top, columns, rows) => {
    const out = new Uint8ClampedArray(columns * rows * 4);
    for (let row = 0; row < rows; row++) {
      const start = ((top + row) * width + left) * 4;
      out.set(bytes.subarray(start, start + columns * 4), row * columns * 4);
    }
    return out;
  };
  return { width, height, pixels };
}

/** Lets modules import what the page's import map names. */
function resolveWith(modules) {
  const resolve = (name, context, next) => next(modules[name] ? pathToFileURL(modules[name]).href : name, context);
  registerHooks({ resolve });
}

/** As in a browser's worker, but Emscripten asks for CommonJS in Node. */
function importScripts(file) {
  const names = ["require", "__dirname", "__filename"];
  const run = vm.compileFunction(`${readFileSync(file, "utf8")}\nreturn ModuleFactory;`, names);
  globalThis.ModuleFactory = run(createRequire(file), path.dirname(file), file);
}

const tasks = {
  async preprocess({ jobs }) {
    const { inputOf, seen } = await import(`${web}/jds/preprocess.js`);
    for (const { preprocessing, input, layout, out, ...source } of jobs) {
      const image = await seen(picture(source), preprocessing);
      const values = inputOf(image, preprocessing, input, layout);
      writeFileSync(out, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
  },

  async rank({ scores, output, labels }) {
    const { best } = await import(`${web}/jds/rank.js`);
    return best(scores.map(Number), output, labels);
  },

  async run({ folder, modules, adapter, model, input, inputType }) {
    resolveWith(modules);
    globalThis.self = globalThis;
    globalThis.importScripts = () => importScripts(path.join(folder, "runtime/litert_wasm_compat_internal.js"));
    const names = ["litert_wasm_compat_internal.js", "litert_wasm_compat_internal.wasm", "ort-wasm-simd-threaded.wasm"];
    globalThis.jdsFiles = Object.fromEntries(
      names.map((name) => [`runtime/${name}`, { arrayBuffer: async () => readFileSync(path.join(folder, "runtime", name)) }]),
    );
    URL.createObjectURL = () => "blob:";
    const { open } = await import(`${web}/jds/${adapter}`);
    const run = await open(new Uint8Array(readFileSync(model)), 1);
    const bytes = new Uint8Array(readFileSync(input));
    return Array.from(await run(inputType === "uint8" ? bytes : new Float32Array(bytes.buffer)));
  },
};

const result = await tasks[task](given);
process.stdout.write(JSON.stringify(result ?? null), () => process.exit()); // runtimes leave timers behind
