"""How networks are made wider and deeper."""


def round_features(features: int | float, divisor: int = 8, limit: int | float = 0.9) -> int:
    """Rounds to a multiple of 8, but at least 8 and never to less than 0.9 of it, as the authors' code does.

    Args:
      features: a number of features.
      divisor: what to round to multiples of.
      limit: the least share of the number.

    Example:
      >>> from jds.models._rounding import round_features
      >>> round_features(32 * 0.35)
      16
    """
    rounded = max(divisor, int(features + divisor / 2) // divisor * divisor)
    return rounded if rounded >= limit * features else rounded + divisor
