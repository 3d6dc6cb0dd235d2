"""What each contender does, a file for each library; functions for `benchmarks.harness.worker`."""
