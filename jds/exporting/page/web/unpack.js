// Unpacks the files of a page that is one file, and starts it. Each is in an element of its own, as base64 of gzip.
(async () => {
  const bytes = (text) => {
    const packed = atob(text.trim());
    const out = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i++) out[i] = packed.charCodeAt(i);
    return out;
  };
  globalThis.jdsFiles = {};
  for (const element of document.querySelectorAll("script[data-file]")) {
    const path = element.dataset.file;
    const unpacked = new Blob([bytes(element.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
    const type = path.endsWith(".js") ? "text/javascript" : "application/octet-stream";
    globalThis.jdsFiles[path] = new Blob([await new Response(unpacked).arrayBuffer()], { type });
    element.remove(); // its text needs as much memory again
  }
  const imports = JSON.parse(document.getElementById("imports").textContent);
  const addresses = {}; // one for each file: a module with two addresses would run twice
  for (const name in imports) {
    addresses[imports[name]] ??= URL.createObjectURL(globalThis.jdsFiles[imports[name]]);
    imports[name] = addresses[imports[name]];
  }
  const add = (type, text) => document.body.append(Object.assign(document.createElement("script"), { type, textContent: text }));
  add("importmap", JSON.stringify({ imports }));
  add("module", 'import "jds/page.js";');
})().catch((error) => {
  document.getElementById("error").textContent = `This page is damaged (${error.message}). Copy the file again.`;
  document.getElementById("error").hidden = false;
});
