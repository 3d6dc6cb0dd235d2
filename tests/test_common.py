"""The helpers that all of jds shares: files, programs that are traced once, name stacks, folded text."""

import contextlib
import logging
import os
import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jds import cli, cost
from jds._common.files import read_files, remove_unfinished, write_atomically, write_folder_atomically
from jds._common.name_stack import scopes_of
from jds._common.text import folded
from jds._common.traceable import Traceable


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_file_is_either_complete_or_unchanged(tmp_path, error):
    path = tmp_path / "figure.svg"
    path.write_text("old")

    def half(temporary):
        assert temporary.suffix == ".svg"
        temporary.write_text("hal")
        raise error

    with pytest.raises(error):
        write_atomically(path, half)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("figure.svg", "old")]
    write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("figure.svg", "new")]


@pytest.mark.parametrize("failing", [1, 2, None])
def test_a_folder_is_either_complete_or_unchanged(tmp_path, monkeypatch, failing):
    old, new = {"a.txt": b"old", "b/c.txt": b"old"}, {"a.txt": b"new", "d/": b""}
    write_folder_atomically(tmp_path / "page", old)
    replace, calls = os.replace, []

    def fails_once(*paths):
        calls.append(paths)
        if len(calls) == failing:
            raise OSError("disk full")
        replace(*paths)

    monkeypatch.setattr(os, "replace", fails_once)
    with contextlib.nullcontext() if failing is None else pytest.raises(OSError, match="disk full"):
        write_folder_atomically(tmp_path / "page", new)
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    assert read_files(tmp_path / "page") == (new if failing is None else old)


def test_unfinished_files_are_removed_with_the_process(tmp_path):
    left = []

    def half(temporary):
        temporary.write_text("hal")
        remove_unfinished()  # as on Ctrl-C, from another thread
        left.extend(tmp_path.iterdir())
        temporary.write_text("whole")

    write_atomically(tmp_path / "file", half)
    assert left == []


@pytest.mark.parametrize(
    ("fun", "path", "is_backward"),
    [
        (lambda x: jnp.sin(x), "a/a", False),
        (jax.grad(lambda x: jnp.sin(x)), "a/a", False),
        (jax.grad(jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))), "a/a", True),
    ],
)
def test_scopes_of_equations_are_read_from_name_stacks(fun, path, is_backward):
    def scoped(x):
        with jax.named_scope("a"), jax.named_scope("a"):
            return fun(x)

    def equations(jaxpr, outer=()):
        for equation in jaxpr.eqns:
            scopes = scopes_of(equation)
            if equation.primitive.name in ("sin", "cos"):
                yield "/".join((*outer, *scopes.path)), scopes.is_backward
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                yield from equations(inner, (*outer, *scopes.path))

    found = list(equations(jax.make_jaxpr(scoped)(1.0).jaxpr))
    assert {path for path, _ in found} == {path}
    assert is_backward in {backward for _, backward in found}


def test_arguments_that_are_not_traced_are_passed_on():
    def fun(x, repeats, *, name):
        assert name == "network"
        return x * sum(1.0 for _ in range(repeats))

    assert Traceable(fun, (jnp.ones(3), 2), {"name": "network"}, traces_numbers=False).jaxpr.in_avals == [
        jax.typeof(jnp.ones(3))
    ]
    with pytest.raises(TypeError, match=r"fun cannot be traced with arguments \(float32\[3\], 2, 'network'\)"):
        _ = Traceable(fun, (jnp.ones(3), 2), {"name": "network"}).jaxpr


class Counted(nnx.Module):
    """Counts how often Python runs through it."""

    calls = 0

    def __init__(self, rngs):
        self.linear = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        Counted.calls += 1
        return self.linear(x)


def counted(x):
    """Called by its name in the test of the command."""
    Counted.calls += 1
    return jnp.sin(x) @ x


def compilations(caplog):
    """Messages on the programs that XLA compiled, except those for JAX's own functions."""
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("jax")]
    ours = "Compiling jit(_call)", "Compiling jit(jaxpr_as_fun)"  # the second one has marks on its equations
    return [message for message in messages if message.startswith(ours)]


def test_all_views_of_a_program_trace_and_compile_it_once(caplog):
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        Counted.calls = 0
        program = Traceable(nnx.eval_shape(lambda: Counted(nnx.Rngs(0))), (jnp.ones((4, 4)),))
        found = cost.analyze(program)
        assert cost.reconcile(program).theory == found.total.flops
        assert cost.xla(program).compiled.flops
        measured = cost.measure_program(program, seconds=0.0)
        assert cost.estimate(found, "a100", measured=measured).total.measured
    assert Counted.calls == 1
    assert len(compilations(caplog)) == 1


def test_the_command_traces_and_compiles_once(caplog, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("jds.cost.devices._devices.measure_peak", lambda: cost.DEVICES["a100"])
    files = [f"--{kind}={tmp_path / f'file.{kind}'}" for kind in ("json", "csv", "html")]
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        Counted.calls = 0
        options = ["--xla", "--device", "this", "--measure", "--plot", str(tmp_path / "file.svg"), *files]
        cli.main(["cost", f"{__name__}:counted", "--arguments", "f32[4,4]", *options])
    assert "from theory to XLA" in capsys.readouterr().out
    assert Counted.calls == 1
    assert len(compilations(caplog)) == 1


@settings(max_examples=300, deadline=None)
@given(st.text("ab1_/. é", max_size=60), st.integers(1, 30))
def test_folding_keeps_all_characters_and_breaks_names_where_they_have_parts(text, width):
    lines = folded(text, width).split("\n")
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(len(line.rstrip()) <= width for line in lines)
    parts = re.split(r"(?<=[/ ])|(?<=\.)(?=[^\W\d])", text)
    if len(lines) > 1 and all(len(part.rstrip()) <= width for part in parts) and not text.startswith(" "):
        # No part is torn apart.
        ends = {"".join("".join(parts[:number]).split()) for number in range(len(parts) + 1)}
        assert {"".join("".join(lines[:number]).split()) for number in range(len(lines) + 1)} <= ends
