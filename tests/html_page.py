"""Reads the pages of `jds.cost`."""

from html.parser import HTMLParser

VOID = ("meta", "input", "wbr")


class Page(HTMLParser):
    """A page: checks that its tags are balanced and that it needs nothing from elsewhere, and collects its rows."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.elements, self.words = [], [], [], []
        self.feed(text)
        assert not self.open
        assert "url(" not in text
        assert "@import" not in text

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert not {"src", "href", "xlink:href", "srcset", "action"} & attributes.keys()
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append({"part": self.open[-2], "attributes": attributes, "cells": []})
        if tag in ("th", "td"):
            self.rows[-1]["cells"].append({"attributes": attributes, "text": "", "expanded": None})
        if tag == "button" and "th" in self.open:
            self.rows[-1]["cells"][-1]["expanded"] = attributes.get("aria-expanded")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if {"th", "td"} & set(self.open):
            self.rows[-1]["cells"][-1]["text"] += data
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def count(self, tag, css=None):
        """Number of elements with a tag and a class."""
        return sum(
            name == tag and (css is None or css in (attributes.get("class") or "").split())
            for name, attributes in self.elements
        )

    @property
    def headings(self):
        return [cell["text"] for cell in next(row for row in self.rows if row["part"] == "thead")["cells"]]

    @property
    def lines(self):
        """The rows of the large table: their names, their cells by heading, and what they are inside of."""
        found = []
        for row in self.rows:
            cells = row["cells"]
            if row["part"] != "tbody" or len(cells) != len(self.headings):
                continue
            found.append(
                {
                    "name": cells[0]["text"],
                    "texts": dict(zip(self.headings, (cell["text"] for cell in cells), strict=True)),
                    "values": dict(
                        zip(self.headings, (cell["attributes"].get("data-value") for cell in cells), strict=True)
                    ),
                    "up": row["attributes"].get("data-up"),
                    "is_folded": "folded" in row["attributes"]["class"].split(),
                    "expanded": cells[0]["expanded"],
                    "class": row["attributes"]["class"],
                }
            )
        return found
