"""The stages of a network: blocks built from the rows of a paper's table, their strides, and the feature maps."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from flax import nnx

from jds.models._config import NetworkConfig


class Feature(NamedTuple):
    """A feature map that `Network.features` returns: its stride in pixels, and its channels.

    Example:
      >>> import jds
      >>> from flax import nnx
      >>> nnx.eval_shape(lambda: jds.create_model("mobilenetv1_100")).feature_info[0]
      Feature(stride=2, features=64)
    """

    stride: int
    features: int


class Placement(NamedTuple):
    """The properties of a block that depend on its position in the network."""

    strides: int
    kernel_dilation: int
    drop_path: float


@runtime_checkable
class BlockRow(Protocol):
    """A row of a paper's table: one block."""

    @property
    def features(self) -> int:
        """Number of output channels."""
        ...

    @property
    def strides(self) -> int:
        """Strides of the depthwise step."""
        ...


R = TypeVar("R", bound=BlockRow)


class Stages(NamedTuple):
    """The stages of a network, and the feature maps that they return.

    Attributes:
      blocks: the blocks of each stage, as `nnx.List`s.
      feature_info: the stride and channels of each map.
      ends: for each map, the index of the stage that outputs it; -1 is the stem.
    """

    blocks: Any
    feature_info: tuple[Feature, ...]
    ends: tuple[int, ...]

    def with_last(self, block: nnx.Module, features: int) -> "Stages":
        """Adds a stage of one unstrided block, whose output replaces the last map."""
        blocks = nnx.List([*self.blocks, nnx.List([block])])
        info = (*self.feature_info[:-1], self.feature_info[-1]._replace(features=features))
        return Stages(blocks, info, (*self.ends[:-1], len(blocks) - 1))


def build_stages(
    config: NetworkConfig,
    features: int,
    rows: Sequence[Sequence[R]],
    make: Callable[[int, R, Placement], nnx.Module],
    *,
    stride: int = 2,
    others: int = 0,
) -> Stages:
    """Makes the blocks described by a table.

    Args:
      config: the network's config.
      features: number of output channels of the stem.
      rows: the rows of each stage.
      make: function that makes a block, given its input channels, its row and its placement.
      stride: stride of the stem.
      others: number of blocks outside the table that count toward the `drop_path` schedule.
    """
    count, number = max(1, sum(map(len, rows)) + others), 0
    plan = StridePlan(stride, config.output_stride)
    info, ends, stages = [], [], nnx.List()
    if rows[0][0].strides > 1:
        info.append(Feature(stride, features))
        ends.append(-1)
    for place, stage in enumerate(rows):
        blocks = nnx.List()
        for row in stage:
            strides, dilation = plan.next(row.strides)
            blocks.append(make(features, row, Placement(strides, dilation, config.drop_path * number / count)))
            features, number = row.features, number + 1
        stages.append(blocks)
        if place + 1 == len(rows) or rows[place + 1][0].strides > 1:
            info.append(Feature(plan.stride, features))
            ends.append(place)
    return Stages(stages, tuple(info), tuple(ends))


class StridePlan:
    """Tracks strides and dilations along a network: once `output_stride` is reached, filters are dilated, not strided.

    Args:
      stride: stride of the stem.
      output_stride: maximum stride of a feature map.
    """

    def __init__(self, stride: int, output_stride: int):
        self.stride, self.dilation, self._largest = stride, 1, output_stride

    def next(self, strides: int) -> tuple[int, int]:
        """Returns strides and dilation of the next block, whose nominal strides are `strides`.

        Afterward, `self.stride` and `self.dilation` describe the output of that block.
        """
        dilation = self.dilation
        if self.stride * strides > self._largest:
            self.dilation, strides = dilation * strides, 1
        self.stride *= strides
        return strides, dilation
