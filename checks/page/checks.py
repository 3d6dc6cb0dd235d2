"""What a page must do. Each check returns a line on what it found, and raises an AssertionError if that is wrong."""

import base64
import gzip
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from checks.page.browser import DESKTOP, PHONE, Visit, demand, served

# A name of this machine whose pages browsers do not take for this machine's own.
OTHER_HOST = "phone.test"


def photographs(browser: Any, url: str, photographs: dict[str, Path], model: Any) -> str:
    """The page's input is jds's, and its results are the network's, in the same order."""
    worst, worst_jpeg = 0.0, 0.0
    with Visit(browser, url) as visit:
        visit.ready()
        for number, (name, path) in enumerate(photographs.items(), 1):
            visit.page.set_input_files("#file", path)
            tensor, scores = visit.classified(number)
            with Image.open(path) as image:
                wanted = np.asarray(model.preprocess(image))
            images = batched(tensor, model)
            steps = 255 * model.preprocessing.std[0] * np.abs(images - wanted).max()
            if path.suffix == ".jpg":  # two decoders may round differently
                worst_jpeg = max(worst_jpeg, float(steps))
            else:
                demand(steps == 0, f"{name}: the page's input is {steps:.2f} steps of 255 from jds's")
            logits = np.asarray(model(jnp.asarray(images)))[0]
            worst = max(worst, float(np.abs(scores - logits).max() / np.abs(logits).max()))
            demand(worst < 1e-5, f"{name}: the results differ by {worst:.1e}")
            best, found = np.argsort(-logits)[:5], np.argsort(-scores)[:5]
            demand((best == found).all(), f"{name}: the best are {found}, but should be {best}")
            shares = np.asarray(jax.nn.softmax(jnp.asarray(scores)))[found]
            texts = [float(share.removesuffix("%")) for _, share in visit.shown()]
            demand(np.allclose(texts, 100 * shares, atol=0.051), f"{name}: the page shows {texts}, not {100 * shares}")
        demand(worst_jpeg <= 3, f"JPEG files differ by {worst_jpeg:.2f} steps of 255")
        visit.demand_nothing_from_elsewhere()
    return f"inputs equal, JPEG within {worst_jpeg:.2f} of 255, results within {worst:.0e}"


def batched(tensor: np.ndarray, model: Any) -> np.ndarray:
    """Returns the input of the page as jds's networks take it."""
    side = model.preprocessing.image_size
    return tensor.reshape(1, side, side, 3)


def keyboard(browser: Any, url: str, photograph: Path) -> str:
    """With Tab and Enter alone, a photograph is chosen and the camera is tried."""
    with Visit(browser, url) as visit:
        visit.ready()
        reached = []
        for _ in range(4):
            visit.page.keyboard.press("Tab")
            focused = visit.page.evaluate("document.activeElement.id")
            if not focused:
                break
            reached.append(focused)
            outline = visit.page.evaluate("""(() => {
              const { activeElement: element } = document;
              const shown = element.matches("input") ? element.nextElementSibling : element;
              return getComputedStyle(shown).outlineStyle;
            })()""")
            demand(outline == "solid", f"{focused}: the focus cannot be seen")
            if focused == "file":
                with visit.page.expect_file_chooser() as chooser:
                    visit.page.keyboard.press("Enter")
                chooser.value.set_files(photograph)
                visit.classified()
        demand("file" in reached, f"the keyboard reaches only {reached}")
        live = visit.page.get_attribute("#results", "aria-live")
        demand(live == "polite", "results are not announced")
        unnamed = visit.page.evaluate("""[...document.querySelectorAll("input, button, canvas, video, section")]
          .filter((element) => !(element.labels?.length || element.ariaLabel || element.textContent.trim()))
          .map((element) => element.id)""")
        demand(not unnamed, f"without a name: {unnamed}")
        visit.demand_nothing_from_elsewhere()
    return f"reaches {', '.join(reached)}"


def phone(browser: Any, url: str, photograph: Path) -> str:
    """At 360 pixels nothing is wider than the screen."""
    with Visit(browser, url, viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=3) as visit:
        visit.ready()
        for chosen in (False, True):
            if chosen:
                visit.page.set_input_files("#file", photograph)
                visit.classified()
            width = visit.page.evaluate("document.documentElement.scrollWidth")
            demand(width <= PHONE["width"], f"the page is {width} pixels wide")
            low = visit.page.evaluate("""[...document.querySelectorAll(".button")].filter((e) => e.offsetParent)
              .map((e) => e.offsetHeight).reduce((a, b) => Math.min(a, b))""")
            demand(low >= 44, f"a button is {low} pixels high")
    return "fits into 360 pixels"


def camera(browser: Any, url: str) -> str:
    """The live camera is classified; a photograph of it stays; a refusal is said."""
    with Visit(browser, url, permissions=["camera"]) as visit:
        visit.ready()
        visit.page.click("#camera")
        visit.classified(3)
        demand(visit.page.get_attribute("#results", "aria-live") == "off", "the live camera is announced all the time")
        visit.page.click("#camera")
        visit.until("document.getElementById('photograph').offsetParent && document.querySelector('#results li')")
        demand(visit.page.evaluate("document.getElementById('video').srcObject === null"), "the camera still runs")
        visit.demand_nothing_from_elsewhere()
    with Visit(browser, url, permissions=[]) as visit:
        visit.ready()
        visit.page.click("#camera")  # without a screen to ask on, Chromium refuses
        demand("camera was refused" in visit.error(), visit.error())
    return "live, taken, refused"


def errors(browser: Any, url: str, folder: Path, photograph: Path) -> str:
    """What goes wrong is a sentence on the page."""
    text = {"name": "text.jpg", "mimeType": "image/jpeg", "buffer": b"no image"}
    with Visit(browser, url) as visit:
        visit.ready()
        visit.page.set_input_files("#file", text)
        demand("“text.jpg” is not an image" in visit.error(), visit.error())
        visit.page.set_input_files("#file", photograph)
        visit.classified()
        demand(visit.page.is_hidden("#error"), "the error stays")
        demand(not visit.errors, str(visit.errors))
    context = browser.new_context()
    page = context.new_page()
    page.route("**/model.*", lambda route: route.fulfill(status=404))
    page.goto(url)
    page.wait_for_selector("#error:not([hidden])")
    shown = page.inner_text("#error")
    demand("The network did not load" in shown and "404" in shown and "Reload the page" in shown, shown)
    page.goto((folder / "index.html").as_uri())
    shown = page.inner_text("#error")
    demand("Run `python -m http.server` in its folder" in shown, shown)
    context.close()
    return "not an image, no network, a folder that is not served"


def drop(browser: Any, url: str, photograph: Path) -> str:
    """A photograph can be dropped anywhere."""
    with Visit(browser, url) as visit:
        visit.ready()
        data = base64.b64encode(photograph.read_bytes()).decode()
        visit.page.evaluate(
            """async (data) => {
              const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
              const transfer = new DataTransfer();
              transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
              for (const type of ["dragover", "drop"]) {
                const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
                document.body.dispatchEvent(new DragEvent(type, options));
              }
            }""",
            data,
        )
        visit.classified()
        visit.demand_nothing_from_elsewhere()
    return "classified"


def threads(browser: Any, folder: Path, photograph: Path, model: Any) -> str:
    """With the headers that isolate it, a page runs several threads, with equal results; an iPhone runs one."""
    iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1"
    counts = []
    for options in ({}, {"user_agent": iphone}):
        with served(folder, isolated=True) as server, Visit(browser, server.url, **options) as visit:
            visit.ready()
            demand(visit.page.evaluate("crossOriginIsolated"), "the page is not isolated")
            counts.append(len(visit.page.workers))
            visit.page.set_input_files("#file", photograph)
            tensor, scores = visit.classified()
            logits = np.asarray(model(jnp.asarray(batched(tensor, model))))[0]
            demand(np.allclose(scores, logits, atol=1e-5 * np.abs(logits).max()), "the results differ")
            visit.demand_nothing_from_elsewhere()
    demand(counts[0] > 0, "no threads were started")
    demand(counts[1] == 0, "threads were started on an iPhone")
    return f"{counts[0]} workers"


def plain_http(browser: Any, url: str, photograph: Path) -> str:
    """Where browsers do not give the camera to a page, a phone takes a photograph for a file input."""
    url = url.replace("127.0.0.1", OTHER_HOST)
    with Visit(browser, url, viewport=PHONE, has_touch=True, is_mobile=True) as visit:
        visit.ready()
        demand(not visit.page.evaluate("isSecureContext"), "the page is thought to be secure")
        demand(visit.page.is_hidden("#camera"), "a camera is offered")
        demand(visit.page.get_attribute("#shot", "capture") == "environment", "no camera of the phone is asked for")
        with visit.page.expect_file_chooser() as chooser:
            visit.page.click("#shot-label")
        chooser.value.set_files(photograph)
        visit.classified()
        visit.demand_nothing_from_elsewhere()
    return "a file input takes the photograph"


def retry(browser: Any, folder: Path, photograph: Path) -> str:
    """If several threads cannot be started, one is."""
    with served(folder, isolated=True) as server, Visit(browser, "about:blank") as visit:
        visit.page.add_init_script(
            "globalThis.Worker = class { constructor() { globalThis.tried = true; throw new RangeError(); } }"
        )
        visit.page.goto(server.url)
        visit.ready()
        demand(visit.page.evaluate("globalThis.tried"), "no thread was started")
        visit.page.set_input_files("#file", photograph)
        visit.classified()
    return "one thread"


def screenshots(browser: Any, url: str, photograph: Path, folder: Path) -> str:
    """Writes pictures to look at."""
    folder.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        for size, viewport in (("phone", PHONE), ("desktop", DESKTOP)):
            mobile = {"device_scale_factor": 2, "is_mobile": True, "has_touch": True} if size == "phone" else {}
            with Visit(browser, url, viewport=viewport, color_scheme=scheme, **mobile) as visit:
                visit.ready()
                visit.page.screenshot(path=folder / f"{size}-{scheme}-empty.png", full_page=True)
                visit.page.set_input_files("#file", photograph)
                visit.classified()
                visit.page.wait_for_timeout(100)
                visit.page.screenshot(path=folder / f"{size}-{scheme}.png", full_page=True)
    return str(folder)


def wire_size(folder: Path, requested: list[str]) -> str:
    """Returns the size of what a browser asked for, compressed."""
    files = {folder / (path or "index.html") for path in requested if path != "favicon.ico"}
    sizes = [len(gzip.compress(file.read_bytes())) for file in files]
    return f"{sum(sizes) / 1e6:.2f} MB over the wire with gzip"
