"""The benchmark harness: processes, turns, records, tables and pictures."""
