"""Checks the networks' configs and input images."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jds.nn._arguments import check_activation, check_norm


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)


Rule = tuple[str, Callable[[Any], bool]]
_POSITIVE: Rule = ("positive and finite", lambda value: _is_number(value) and value > 0)
_COUNT: Rule = ("a positive int", lambda value: _is_int(value, 1))
_SHARE: Rule = ("at least 0 and less than 1", lambda value: _is_number(value) and 0 <= value < 1)

# Requirements on config fields by name, shared by all networks.
_RULES: dict[str, Rule] = {
    "num_classes": ("an int of at least 0", lambda value: _is_int(value, 0)),
    "in_features": ("positive", lambda value: _is_int(value, 1)),
    "dropout": _SHARE,
    "drop_path": _SHARE,
    "output_stride": ("8, 16 or 32", lambda value: _is_int(value, 8) and value in (8, 16, 32)),
    "padding": ('"SAME" or "TORCH"', lambda value: value in ("SAME", "TORCH")),
    "epsilon": ("at least 0", lambda value: _is_number(value) and value >= 0),
    "momentum": ("from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1),
    "rows": ("a tuple of at least one row", lambda value: isinstance(value, tuple) and len(value) > 0),
    "width": _POSITIVE,
    "depth": _POSITIVE,
    "stem": _COUNT,
    "last": _COUNT,
    "hidden": _COUNT,
    "stem_stride": _COUNT,
    "branches": _COUNT,
    "layer_scale": ("a number, or None", lambda value: value is None or _is_number(value)),
}


def check_fields(config: Any) -> None:
    """Raises ValueError or TypeError unless every field of a network's config meets the rule for its name."""
    name = type(config).__name__
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in _RULES:
            rule, holds = _RULES[field.name]
            if not holds(value):
                raise ValueError(f"{name}: `{field.name}` must be {rule}, got {value!r}")
        elif field.name == "norm":
            check_norm(name, norm=value)
        elif field.name == "activation":
            check_activation(name, activation=value)
        elif field.name in ("dtype", "param_dtype"):
            _check_dtype(name, field.name, value)
        elif field.type is bool and not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name}: `{field.name}` must be True or False, got {value!r}")


def _check_dtype(config: str, field: str, value: Any) -> None:
    if value is None and field == "dtype":
        return
    try:
        is_floating = value is not None and jnp.issubdtype(jnp.dtype(value), jnp.floating)
    except TypeError:
        is_floating = False
    if not is_floating:
        raise TypeError(f"{config}: `{field}` must be a floating-point dtype, such as `jnp.bfloat16`, got {value!r}")


def check_no_drop_path(network: str, config: Any) -> None:
    """Raises ValueError if `drop_path` is nonzero for a network whose blocks cannot be dropped."""
    if config.drop_path:
        raise ValueError(
            f"{network}: `drop_path` must be 0, got {config.drop_path!r}; none of its blocks can be dropped"
        )


def checked_images(network: str, images: Any, in_features: int) -> jax.Array:
    """Returns a batch of images as an array; raises ValueError or TypeError for a wrong shape or dtype."""
    wanted = f"`images` must have shape (batch, height, width, {in_features}), channels last"
    try:
        images = jnp.asarray(images)
    except (TypeError, ValueError):
        raise TypeError(
            f"{network}: {wanted}, got {type(images).__name__}, which cannot be converted to an array"
        ) from None
    shape = images.shape
    if len(shape) != 4 or shape[-1] != in_features:
        raise ValueError(f"{network}: {wanted}, got {shape}{_hint(shape, in_features)}")
    if 0 in shape[1:]:
        raise ValueError(f"{network}: `images` must have at least one pixel, got shape {shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(
            f"{network}: `images` must be floating-point and preprocessed for the weights, got {images.dtype.name}; "
            "use `model.preprocess` to convert images"
        )
    return images


def _hint(shape: tuple[int, ...], in_features: int) -> str:
    if len(shape) == 3:
        return "; add the batch axis: `images[None]`"
    if len(shape) == 4 and shape[1] == in_features:
        return "; these have the channels first: `images.transpose(0, 2, 3, 1)`"
    if len(shape) == 4:
        return f"; for {shape[-1]} channels build the network with in_features={shape[-1]}"
    return ""
