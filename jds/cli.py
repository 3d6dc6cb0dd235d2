"""The `jds` command: parses, calls the library, prints."""

import sys
from collections.abc import Sequence

import tyro

from jds import cli_compare, cli_cost, cli_models
from jds.cli_options import UsageError

# For each subcommand its options, and what runs with them.
_COMMANDS = {
    "compare": (cli_compare.Compare, cli_compare.run),
    "cost": (cli_cost.Cost, cli_cost.run),
    "models": (cli_models.Models, cli_models.run_models),
    "predict": (cli_models.Predict, cli_models.run_predict),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the `jds` command.

    Args:
      arguments: the words after `jds`; None for those of the process.

    Raises:
      SystemExit: with status 2 and a message on standard error, where the arguments are wrong.
    """
    app = tyro.extras.SubcommandApp()
    for name, (options, _) in _COMMANDS.items():
        app.command(name=name)(options)
    chosen = app.cli(prog="jds", description="Depthwise separable convolutions in JAX.", args=arguments)
    name, run = next((name, run) for name, (options, run) in _COMMANDS.items() if isinstance(chosen, options))
    try:
        run(chosen)
    except UsageError as error:
        print(f"jds {name}: {error}", file=sys.stderr)
        sys.exit(2)
