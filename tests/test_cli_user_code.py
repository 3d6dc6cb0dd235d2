"""`jds cost` of programs that fail: whatever the user's code raises ends in a message with the user's own lines."""

import builtins
from unittest.mock import Mock

import pytest

from jds import cli, cost


def can_be_made(kind):
    try:
        kind("told")
    except TypeError:
        return False
    return True


RAISED = [
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception | SystemExit) and can_be_made(kind)
]
# Those that jds, JAX, Flax or Python itself treats differently from others.
OF_ITS_OWN = [
    "AttributeError",
    "KeyError",
    "OSError",
    "StopIteration",
    "SystemExit",
    "TypeError",
    "ValueError",
    "Exception",
]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes a file of the user into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda text, name="mine.py": (tmp_path / name).write_text(text)


def refused(arguments, capfd):
    with pytest.raises(SystemExit) as exit:
        cli.main(["cost", *arguments])
    err = capfd.readouterr().err
    assert exit.value.code == 2
    assert "Traceback" not in err
    assert "jds/" not in err.replace("jds/cost", "")
    return err


PLACES = {
    "at import": 'raise {}("told")',
    "as an attribute": 'class Lazy:\n    def __getattr__(self, name): raise {}("told")\nf = Lazy()',
    "when traced": 'def f(x):\n    raise {}("told")',
    "when traced for a gradient": 'def f(x):\n    raise {}("told")',
}


@pytest.mark.parametrize("place", PLACES)
def test_all_that_the_users_code_raises_is_reported_with_its_line(place, mine, capfd):
    # Whatever is caught is told apart by its type in the same way at every place: see `PLACES`.
    for name in RAISED if place in ("at import", "when traced") else OF_ITS_OWN:
        text = PLACES[place].format(name)
        mine(text)
        target = "mine.py:f.g" if place == "as an attribute" else "mine.py:f"
        err = refused([target, "--arguments", "f32[4]", *(["--grad"] if "gradient" in place else [])], capfd)
        line = next(i for i, line in enumerate(text.splitlines(), 1) if "raise" in line)
        assert "told" in err, name
        assert f"mine.py:{line})" in err, name
        assert "grad_wrapper" not in err, name


def test_an_error_shows_the_calls_in_the_users_code(mine, capfd):
    mine("def inner(x):\n    return {}['missing']\n\ndef f(x):\n    return inner(x)\n")
    err = refused(["mine.py:f", "--arguments", "f32[4]"], capfd)
    assert "mine.py:f cannot be traced: KeyError: 'missing'\n(" in err
    places = err.rstrip().rpartition("(")[2].split(", ")
    assert [place.rpartition(":")[2] for place in places] == ["5", "2)"]


def fail_in_a_rule(*_, **__):
    raise KeyError("told")  # these lines are not in jds, as those of a rule that the user registers


def test_while_the_program_is_counted_only_the_users_own_errors_are_reported(mine, capfd, monkeypatch):
    mine("def f(x):\n    return x\n")
    monkeypatch.setattr(cost, "analyze", fail_in_a_rule)
    assert "mine.py:f cannot be counted: KeyError: 'told'\n(" in refused(["mine.py:f", "--arguments", "f32[4]"], capfd)
    monkeypatch.setattr(cost, "analyze", Mock(side_effect=KeyError("a fault of jds")))
    with pytest.raises(KeyError, match="a fault of jds"):
        cli.main(["cost", "mine.py:f", "--arguments", "f32[4]"])


def test_an_error_whose_message_cannot_be_made_is_reported(mine, capfd):
    mine("class Bad(Exception):\n    def __str__(self): raise ValueError\ndef f(x):\n    raise Bad\n")
    assert "cannot be traced: Bad\n" in refused(["mine.py:f", "--arguments", "f32[4]"], capfd)


def test_an_error_in_a_callback_is_reported_without_jaxs_traceback(mine, capfd, monkeypatch):
    peak = cost.Peak("made up", {"float32": 1e9}, bytes=1e9, source="nowhere")
    monkeypatch.setattr(cost, "find_device", lambda name: peak)
    mine("import jax\ndef fail(x):\n    return 1 / 0\ndef f(x):\n    return jax.pure_callback(fail, x, x)\n")
    err = refused(["mine.py:f", "--arguments", "f32[4]", "--measure"], capfd)
    assert "mine.py:f cannot be measured" in err
    assert "ZeroDivisionError: division by zero" in err
    assert "mine.py:3)" in err


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("def f(x, y): pass", [], "mine.py:f(x, y) cannot be called with no `--arguments`: missing a required argument: 'x'"),
        ("def f(x): pass", ["--arguments", "f32[3]", "f32[3]"], "with `--arguments f32[3] f32[3]`: too many positional"),
        ("def f(x): pass", ["--arguments", "x=f32[3]", "x=f32[3]"], "must have each name once, got x twice"),
        ("def f(x): pass", ["--arguments", "f64[3]"], "with float64 need JAX_ENABLE_X64=1"),
        ("def f(x): pass", ["--arguments", "str[3]"], "must start with a dtype"),
        ("def f(x): yield x", ["--arguments", "f32[3]"], "got a generator or a coroutine"),
        ("async def f(x): pass", ["--arguments", "f32[3]"], "got a generator or a coroutine"),
        ("def f(x): return 'text'", ["--arguments", "f32[3]"], "mine.py:f returns no arrays"),
        ("class Box: pass\ndef f(x):\n box = Box(); box.x = x * 2; return box", ["--arguments", "f32[3]"], "returns no arrays"),
        ("def f(x): return 1.0", ["--arguments", "f32[3]", "--grad"], "requires a floating-point result"),
        ("def f(x): return x", ["--arguments", "f32[3]", "--trip-counts", "3"], "`--trip-counts` has no effect: mine.py:f has no"),
        ("def f(x): return x", ["--arguments", "f32[3]", "--trip-counts", "-1"], "`--trip-counts` must be 0 or more, got -1"),
        (
            "import jax.numpy as jnp\ndef f(x, n): return jnp.zeros(n) + x",
            ["--arguments", "f32[]", "int32[]"],
            "Close over one that must stay a number",
        ),
        (
            "from flax import nnx\nnet = nnx.BatchNorm(3, rngs=nnx.Rngs(0))\ndef f(x): return net(x)",
            ["--arguments", "f32[4,3]"],
            "switch the module to evaluation mode with `module.eval()`",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_called_or_counted_says_what_to_do(text, options, message, mine, capfd):
    mine(text)
    assert message in " ".join(refused(["mine.py:f", *options], capfd).split())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine.py", "mine.py must be followed by what is in it, as in mine.py:function"),
        ("model.pt", "model.pt is a file that cannot be read: .onnx and .tflite files can"),
        ("resnet50", "did you mean one of `jds models`?"),
        ("missing.onnx", "there is no file 'missing.onnx'"),
        ("missing.TFLITE", "there is no file 'missing.TFLITE'"),
    ],
)
def test_a_wrong_target_says_what_to_do(target, message, mine, capfd):
    mine("x = 1")
    mine("", "model.pt")
    assert message in refused([target], capfd)


def test_a_function_without_results_may_have_an_effect(mine, capfd):
    mine("import jax\ndef f(x): jax.debug.print('{x}', x=x * 2)\n")
    cli.main(["cost", "mine.py:f", "--arguments", "f32[4]"])
    assert "(no layer)" in capfd.readouterr().out


def test_a_decorator_may_change_the_arguments(mine, capfd):
    mine(
        "import functools, jax\n"
        "def with_weights(fun):\n"
        "    @functools.wraps(fun)\n"
        "    def call(x): return fun(jax.numpy.ones((4, 4)), x)\n"
        "    return call\n"
        "@jax.jit\n"
        "@with_weights\n"
        "def f(weights, x): return weights @ x\n"
    )
    cli.main(["cost", "mine.py:f", "--arguments", "f32[4,4]"])
    assert "total" in capfd.readouterr().out
    assert "missing a required argument: 'x'" in refused(["mine.py:f"], capfd)


def test_loops_that_never_run_are_counted(mine, capfd):
    mine("from jax import lax\ndef f(x): return lax.while_loop(lambda c: c[0] < 3, lambda c: c * 2, x)")
    cli.main(["cost", "mine.py:f", "--arguments", "f32[4]", "--trip-counts", "0"])
    assert "≥" not in capfd.readouterr().out
