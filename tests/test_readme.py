"""The README's examples run."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["y"].shape == (1, 56, 56, 128)
    assert names["gradient"].shape == (3, 3, 1, 128)
    assert set(names["variables"]) >= {"params", "batch_stats"}
    assert names["logits"].shape == (1, 10)
