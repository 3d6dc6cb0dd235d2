import { isOneFile } from "jds/files.js";

const MOST = 4;

/**
 * Returns how many threads the network may use. Threads share memory, which browsers allow for pages that a server
 * isolates from others, with the headers COOP and COEP. On iPhones and iPads, Safari runs out of memory with them.
 */
export function allowedThreads() {
  return !isOneFile && globalThis.crossOriginIsolated && !isAppleMobile() ? Math.min(MOST, navigator.hardwareConcurrency) : 1;
}

function isAppleMobile() {
  // An iPad says that it is a Mac, but Macs have no touch screens.
  return /iPhone|iPad|iPod/.test(navigator.userAgent) || (/Mac/.test(navigator.userAgent) && navigator.maxTouchPoints > 1);
}
