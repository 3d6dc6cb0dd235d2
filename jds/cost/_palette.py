"""The colors of the kinds, in pages and figures."""

# The Okabe-Ito palette, which is safe for color-blind readers: https://jfly.uni-koeln.de/color/.
KIND_COLORS = {
    "ordinary": "#000000",
    "grouped": "#CC79A7",
    "depthwise": "#D55E00",
    "pointwise": "#0072B2",
    "dense": "#009E73",
    "batched": "#E69F00",
}
# That of all kinds that do not multiply.
OTHER_COLOR = "#999999"
OTHER = "element-wise and other"


def family(kind: str) -> str:
    """Returns the kind whose color a kind has: itself, or `OTHER`."""
    return kind if kind in KIND_COLORS else OTHER


def color(kind: str) -> str:
    """Returns the color of a kind."""
    return KIND_COLORS.get(kind, OTHER_COLOR)
