"""Names the networks that have changed since they were checked or counted, and the commands to run again.

    python -m checks.outdated

Takes about five minutes.
"""

from rich.progress import track

import jds
from checks import exports, figures, sweep, training_steps, variants
from checks.fingerprint import fingerprint
from jds import zoo


def main(pattern: str = "*") -> None:
    """Compares the networks whose names fit the pattern with the records.

    Raises:
      SystemExit: with the commands to run again, if there are any.
    """
    codes = {variants: None, training_steps: None, exports: exports.code()}
    results = {check: sweep.load(check.RECORD) for check in codes}
    found = []
    for name in track(jds.list_models(pattern)):
        now = fingerprint(name)
        outdated = [check for check in codes if not sweep.is_valid(results[check].get(name), now, codes[check])]
        found += [f"python -m {check.__name__} --pattern {name}" for check in outdated]
        if zoo.Figures(**figures.figures(name)) != zoo.figures()[name]:
            found.append(f"python -m checks.figures, because of {name}")
    if found:
        raise SystemExit("\n".join(found))


if __name__ == "__main__":
    main()
