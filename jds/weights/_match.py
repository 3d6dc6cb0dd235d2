"""Matches named arrays to a network's entries: by name, with or without a prefix, or by order."""

from collections.abc import Collection, Mapping
from typing import Any

from jds.weights._lazy import Shape


def without_prefix(found: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """Removes a prefix shared by all wanted names, such as `module.`, `model.` or `backbone.`.

    Example:
      >>> from jds.weights._match import without_prefix
      >>> without_prefix({"module.a.weight": 1, "module.a.bias": 2, "step": 3}, ["a.weight", "a.bias"])
      {'a.weight': 1, 'a.bias': 2, 'step': 3}
    """
    first = next(iter(wanted), "")
    prefixes = {name[: -len(first)] for name in found if first and name.endswith((f".{first}", f"/{first}"))}
    for prefix in sorted(prefixes, key=len):
        if all(f"{prefix}{name}" in found for name in wanted):
            stripped = {name.removeprefix(prefix): array for name, array in found.items()}
            return stripped if len(stripped) == len(found) else dict(found)
    return dict(found)


def by_order(found: Mapping[str, Any], wanted: Mapping[str, Shape], top: Collection[str]) -> dict[str, Any] | None:
    """Assigns the wanted names to entries in order; returns None if their number or a shape differs.

    Args:
      found: the entries, in order; integers, such as PyTorch's counters, are skipped.
      wanted: names and shapes, in the order of the package that defines them.
      top: entries that may have another shape or be missing.
    """
    arrays = [array for array in found.values() if array.ndim]
    for names in ([*wanted], [name for name in wanted if name not in top]):
        pairs = list(zip(names, arrays, strict=False))
        if len(names) == len(arrays) and all(name in top or array.shape == wanted[name] for name, array in pairs):
            return dict(pairs)
    return None
