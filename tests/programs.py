"""Helpers for the text of programs."""

import re


def without_attribute(text):
    """The lowered program without the attribute that `jds.accelerate` adds to operations."""
    attribute = r'mhlo\.frontend_attributes = \{jds = "auto"\}'
    return re.sub(rf" \{{{attribute}\}}|, {attribute}|(?<=\{{){attribute}, ", "", text)
