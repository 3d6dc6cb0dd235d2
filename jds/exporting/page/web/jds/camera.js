/** The live camera. Browsers give it to pages from https, from this device, or from a file, but not from plain http. */

let stream = null;

/** Whether the page may ask for the camera. */
export const isPossible = Boolean(navigator.mediaDevices?.getUserMedia);

/** Whether the camera runs. */
export function isOn() {
  return stream !== null;
}

/** Starts the camera, on phones the one on the back. */
export async function start(video) {
  stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { facingMode: "environment" } });
  video.srcObject = stream;
  await video.play();
}

/** Stops the camera. */
export function stop(video) {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  video.srcObject = null;
}

/** @param {DOMException} error of `start` @returns {string} a sentence that says what to do */
export function reason(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The camera was refused. Allow it in the browser's settings for this page, or choose a photograph.";
    case "NotFoundError":
      return "This device has no camera. Choose a photograph instead.";
    case "NotReadableError":
      return "The camera is used by another program. Close that program, or choose a photograph.";
    default:
      return `The camera did not start (${error.message}). Choose a photograph instead.`;
  }
}
