"""The error of the readers of files."""


class UnreadableError(ValueError):
    """A file cannot be read; says why, and what to do."""
