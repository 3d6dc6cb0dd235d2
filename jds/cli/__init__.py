"""The `jds` command: parses arguments, calls the library and prints the results."""

import contextlib
import sys
from collections.abc import Sequence

import tyro

import jds
from jds.cli import _output, _process
from jds.cli._compare import Compare
from jds.cli._cost import Cost
from jds.cli._evaluate import Evaluate
from jds.cli._export import Export
from jds.cli._models import Models, Predict
from jds.cli._options import UsageError

# The subcommands: their fields are the options, and `run` executes them.
_COMMANDS = (Compare, Cost, Evaluate, Export, Models, Predict)
_DESCRIPTION = "Depthwise separable convolutions in JAX. `jds --version` prints the version."


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the `jds` command.

    Args:
      arguments: the command-line arguments after `jds`; None for the process's own arguments, in which case Ctrl-C ends
        the process.

    Raises:
      SystemExit: with status 2 and a message on standard error, if the arguments are invalid; with status 1, or 141 for
        a closed pipe, if standard output cannot be written.
    """
    own_process = arguments is None
    words = sys.argv[1:] if own_process else list(arguments)
    if own_process:
        _output.use_plain_signs()
        _process.warn_in_paragraphs()
        _process.keep_imports()
    with _process.interruptible() if own_process else contextlib.nullcontext():
        try:
            _run(words)
        except _output.OutputError as error:
            if own_process:
                _output.drop_output()
            if not error.is_closed:
                _complain(f"jds: {error}")
            sys.exit(error.status)


def _run(words: Sequence[str]) -> None:
    if list(words) == ["--version"]:
        _output.show(f"jds {jds.__version__}")
        return
    app = tyro.extras.SubcommandApp()
    for command in _COMMANDS:
        app.command(name=_name(command))(command)
    with _output.writing(), _output.wide_help():
        chosen: Compare | Cost | Evaluate | Export | Models | Predict = app.cli(
            prog="jds", description=_DESCRIPTION, args=words
        )
    try:
        chosen.run()
    except UsageError as error:
        _complain(f"jds {_name(type(chosen))}: {error}")
        sys.exit(2)
    with _output.writing():
        pass


def _name(command: type) -> str:
    return command.__name__.lower()


def _complain(message: str) -> None:
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr)
