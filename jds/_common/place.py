"""Where an equation of a jaxpr comes from."""

import re
from pathlib import Path

from jax.extend.core import JaxprEqn
from jax.extend.source_info_util import summarize

_JDS = re.escape(str(Path(__file__).parents[1]))
_LIBRARY = re.compile(rf"[\\/](site|dist)-packages[\\/]|^{_JDS}[\\/](_common|exporting|nn|ops)[\\/]")
# `/path/file.py:12:3 (function)`, with or without the column.
_LINE = re.compile(r".*?([^\\/:]+:\d+)(?::\d+)?(?= \()")


def place(equation: JaxprEqn, scope: str) -> str:
    """Returns an equation's scope and the innermost line of user code; if there is neither, the innermost line.

    Example:
      >>> import jax
      >>> from jds._common.place import place
      >>> (equation,) = jax.make_jaxpr(lambda x: x + 1)(1.0).eqns
      >>> place(equation, "stages/0").startswith("stages/0 at ")
      True
    """
    lines = summarize(equation.source_info, num_frames=100).splitlines()
    own = [line for line in lines if not _LIBRARY.search(line)]
    line = own or ([] if scope else lines)
    return " at ".join([*filter(None, [scope]), *(_LINE.sub(r"\1", line) for line in line[-1:])])
