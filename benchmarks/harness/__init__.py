"""The harness of the benchmarks: processes, turns, records, tables and pictures."""
