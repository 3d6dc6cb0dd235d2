"""Opens a LiteRT file with MediaPipe's image classifier, as Android's apps do, which needs the file's metadata.

    pip install mediapipe
    python checks/mediapipe_classifier.py FILE.tflite

The classifier refuses a file that does not say how to normalize images, and takes the labels from the file. Does not
need jds, whose extras do not go with MediaPipe's.
"""

import importlib
import sys
from typing import Any

import numpy as np


def main(file: str) -> None:
    mediapipe: Any = importlib.import_module("mediapipe")
    python: Any = importlib.import_module("mediapipe.tasks.python")
    vision: Any = importlib.import_module("mediapipe.tasks.python.vision")
    options = vision.ImageClassifierOptions(base_options=python.BaseOptions(model_asset_path=file), max_results=5)
    # Closed here: at the end of the process, its own cleaning up fails.
    with vision.ImageClassifier.create_from_options(options) as classifier:
        pixels = np.tile(np.arange(96, dtype=np.uint8)[:, None, None], (1, 96, 3))
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        (found,) = classifier.classify(image).classifications
    names = [category.category_name for category in found.categories]
    print(", ".join(names))
    if not all(names):
        sys.exit("the file has no labels")


if __name__ == "__main__":
    main(*sys.argv[1:])
