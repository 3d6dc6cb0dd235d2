"""Which entry of a mapping of names to arrays is which of a network: by name, with or without a prefix, or by order."""

from collections.abc import Collection, Mapping
from typing import Any

from jds.weights._lazy import Shape


def without_prefix(found: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """Removes a prefix that all wanted names have, such as `module.`, `model.` or `backbone.`.

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
    """Names entries after the wanted ones in their order; None where their number or a shape is another.

    Args:
      found: the entries in their order; whole numbers, as PyTorch's counters, are passed over.
      wanted: names and shapes, in the order of the package that makes such entries.
      top: those that may have another shape, or be left out.
    """
    arrays = [array for array in found.values() if array.ndim]
    for names in ([*wanted], [name for name in wanted if name not in top]):
        pairs = list(zip(names, arrays, strict=False))
        if len(names) == len(arrays) and all(name in top or array.shape == wanted[name] for name, array in pairs):
            return dict(pairs)
    return None
