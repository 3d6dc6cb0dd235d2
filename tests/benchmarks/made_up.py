"""Made-up results, as if they had been measured."""

from benchmarks.harness.contest import Case, Measured, Result


def measured(*milliseconds, compiled=(2.0, 3.0)):
    """A contender with one sample per round."""
    usage = {"peak_mib": 200.0, "page_faults": 7, "cores": 2.0, "idle_cores": 0.0, "other_cores": 0.0}
    return Measured(
        {"imported": 50.0, "prepared": 60.0},
        [{"seconds": seconds, "peak_mib": 300.0} for seconds in compiled],
        [usage | {"samples": [at * 1e-3]} for at in milliseconds],
    )


def result(table, spec, times, *, name="a case", allocator=None):
    """A result of the contenders in a table that have times."""
    contenders = tuple(contender for contender in table if contender.name in times)
    found = {
        contender.name: at if isinstance(at := times[contender.name], Measured) else measured(*[at] * 3)
        for contender in contenders
    }
    return Result(Case(name, spec, contenders), found, {}, allocator)
