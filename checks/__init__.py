"""Checks of every public network: one command each, with its record in `results/`."""
