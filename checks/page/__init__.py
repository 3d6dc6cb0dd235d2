"""Checks of exported pages in a browser."""
