"""Installation on a machine that has no C++ compiler."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPT = """
import jax.numpy as jnp
import jds
print(jds.__file__)
x, k = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4))
print(float(jds.depthwise_conv(x, k).sum()))
print(*jds.select_implementation(x, k, feature_group_count=4).forward)
"""


def run(*command, folder, **environment):
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_without_a_compiler_jds_is_installed_and_says_so(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(ROOT / "jds", source / "jds", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    stale = source / "jds/ops/native/libjds.so"
    stale.write_text("of an earlier installation")
    said = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", folder=source, CXX="no-such-compiler")
    assert "jds is installed without its CPU kernels: no C++ compiler found" in "".join(said)
    assert not stale.exists()
    (wheel,) = (source / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    assert not list(site.rglob("*.so"))
    out, log = run(sys.executable, "-c", SCRIPT, folder=tmp_path, PYTHONPATH=str(site))
    where, total, choice = out.splitlines()
    assert where.startswith(str(site))
    assert total == "1936.0"
    assert choice.startswith("shifted ")
    assert "the CPU kernels were not built, for want of a C++ compiler" in choice
    assert log.count("jds runs more slowly") == 1
