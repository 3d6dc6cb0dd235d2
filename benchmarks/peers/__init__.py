"""The code of the contenders, one file per library: functions for `benchmarks.harness.worker`."""
