"""The `jds` command: parses, calls the library, prints."""

import contextlib
import sys
from collections.abc import Sequence

import tyro

import jds
from jds import cli_compare, cli_cost, cli_models, cli_output, cli_process
from jds.cli_options import UsageError

# For each subcommand its options, and what runs with them.
_COMMANDS = {
    "compare": (cli_compare.Compare, cli_compare.run),
    "cost": (cli_cost.Cost, cli_cost.run),
    "models": (cli_models.Models, cli_models.run_models),
    "predict": (cli_models.Predict, cli_models.run_predict),
}
_DESCRIPTION = "Depthwise separable convolutions in JAX. `jds --version` prints the version."


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the `jds` command.

    Args:
      arguments: the words after `jds`; None for those of the process, which is then the command's own: Ctrl-C ends it.

    Raises:
      SystemExit: with status 2 and a message on standard error, where the arguments are wrong; with status 1 or, for a
        pipe that nobody reads any more, 141, where standard output cannot be written.
    """
    own_process = arguments is None
    words = sys.argv[1:] if own_process else list(arguments)
    if own_process:
        cli_output.use_plain_signs()
        cli_process.warn_in_paragraphs()
    with cli_process.interruptible() if own_process else contextlib.nullcontext():
        try:
            _run(words)
        except cli_output.OutputError as error:
            if own_process:
                cli_output.drop_output()
            if not error.is_closed:
                _complain(f"jds: {error}")
            sys.exit(error.status)


def _run(words: Sequence[str]) -> None:
    if list(words) == ["--version"]:
        cli_output.show(f"jds {jds.__version__}")
        return
    app = tyro.extras.SubcommandApp()
    for name, (options, _) in _COMMANDS.items():
        app.command(name=name)(options)
    with cli_output.writing(), cli_output.wide_help():
        chosen = app.cli(prog="jds", description=_DESCRIPTION, args=words)
    name, run = next((name, run) for name, (options, run) in _COMMANDS.items() if isinstance(chosen, options))
    try:
        run(chosen)
    except UsageError as error:
        _complain(f"jds {name}: {error}")
        sys.exit(2)
    with cli_output.writing():
        pass


def _complain(message: str) -> None:
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr)
