"""Contenders that compute almost nothing, to run in separate processes."""

import os
import sys
import time

import numpy as np

from benchmarks.harness.worker import Program


def steady(spec):
    """Sleeps; writes its name to a log on each call."""

    def call():
        with open(spec["log"], "a") as log:
            log.write(spec["name"] + "\n")
        time.sleep(spec.get("sleep", 0.001))
        return np.array(spec.get("out", [1.0, -2.0]))

    return Program(lambda: call, lambda out: {"out": out, "loose sum": out.sum()})


def raises(spec):
    raise RuntimeError("no such layer")


def crashes(spec):
    def compile():
        print("on its way out", file=sys.stderr, flush=True)
        os._exit(7)

    return Program(compile, lambda out: {})


def chatty(spec):
    print("a library that prints")
    os.system("echo and one that prints past Python")
    return steady(spec)
