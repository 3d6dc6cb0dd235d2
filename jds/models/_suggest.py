"""Suggestions for unknown names of networks and of their options."""

import difflib
import re
from collections.abc import Iterable

# Options of timm, torchvision and Keras, and their names in jds.
_RENAMED = {
    "in_chans": "in_features",
    "in_channels": "in_features",
    "drop_rate": "dropout",
    "dropout_rate": "dropout",
    "drop_path_rate": "drop_path",
    "drop_connect_rate": "drop_path",
    "stochastic_depth_prob": "drop_path",
    "classes": "num_classes",
    "n_classes": "num_classes",
    "norm_layer": "norm",
    "act_layer": "activation",
    "alpha": "width",
    "width_mult": "width",
    "width_multiplier": "width",
    "channel_multiplier": "width",
    "depth_multiplier": "depth",
}
# Options of these packages that jds does not have, and what to use instead.
_ELSEWHERE = {
    **dict.fromkeys(
        ("pretrained", "pretrained_cfg", "checkpoint_path"),
        "pass public weights as `weights=`: a file, or a Hugging Face repository such as 'timm/{name}'",
    ),
    **dict.fromkeys(
        ("features_only", "out_indices"),
        "every network has `model.features(images)`; `feature_info` describes them",
    ),
    **dict.fromkeys(
        ("include_top", "global_pool", "pooling"),
        "num_classes=0 removes the classifier; the network then returns the pooled features",
    ),
    **dict.fromkeys(("img_size", "input_shape", "image_size"), "images may have any size"),
    **dict.fromkeys(("device", "seed", "key"), "pass `rngs=nnx.Rngs(seed)`; arrays are on JAX's default device"),
}


def for_option(network: str, option: str, known: Iterable[str]) -> str:
    """Suggests what the user may have meant by an unknown option.

    Example:
      >>> from jds.models._suggest import for_option
      >>> for_option("mobilenetv2_100", "drop_rate", ["num_classes", "dropout"])
      'did you mean dropout?'
    """
    known = sorted(known)
    if option in _ELSEWHERE:
        return _ELSEWHERE[option].format(name=network)
    if _RENAMED.get(option) in known:
        return f"did you mean {_RENAMED[option]}?"
    near = difflib.get_close_matches(option, known, n=1)
    return f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"


def near_names(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Returns the known names closest to an unknown one, closest first.

    Names that start with it or contain it come before names with similar spelling. Case, hyphens, the package before a
    `/` and the tag after a `.` are ignored.

    Example:
      >>> from jds.models._suggest import near_names
      >>> near_names("mobilenet_v1", ["mobilenetv1_100", "mobileone_s1", "xception"])
      ['mobilenetv1_100', 'mobileone_s1']
    """
    wanted = _letters(name.rpartition("/")[2].partition(".")[0])

    def likeness(known: str) -> float:
        letters = _letters(known.rpartition("/")[2])
        score = difflib.SequenceMatcher(None, wanted, letters).ratio()
        return score + letters.startswith(wanted) + (wanted in letters) if wanted else 0.0

    scored = sorted(((likeness(known), known) for known in names), key=lambda pair: (-pair[0], pair[1]))
    return [known for score, known in scored[:count] if score >= 0.75]


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
