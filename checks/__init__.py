"""Checks of every public network, each a command whose record is kept in `results/`."""
