"""The parts of a self-contained page: its frame, and tables that can be sorted, searched and folded."""

import datetime
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import NamedTuple

from jds._common.text import Number
from jds.cost._data import jds_version
from jds.cost._machine import machine_facts
from jds.cost._palette import KIND_COLORS, OTHER, OTHER_COLOR, family


class Heading(NamedTuple):
    """The heading of a column.

    Attributes:
      text: what is shown.
      explanation: its tooltip.
      is_number: whether its cells have values, which are aligned on the right.
      is_kind: whether its cells are the kinds of their rows, whose colors they show.
      bars: the name of the columns of numbers whose bars have the same scale; None for its own, empty for no bars.
    """

    text: str
    explanation: str = ""
    is_number: bool = True
    is_kind: bool = False
    bars: str | None = None

    @property
    def css(self) -> str:
        """The class of the heading and its cells, as an attribute."""
        names = [*([] if self.is_number else ["words"]), *(["kind"] if self.is_kind else [])]
        return f' class="{" ".join(names)}"' if names else ""


class Cell(NamedTuple):
    """A cell: its text and, in a column of numbers, the value to sort by; None if there is none."""

    text: str
    value: Number | None = None


class Entry(NamedTuple):
    """A row of a table.

    Attributes:
      name: its path, or another name.
      cells: its cells after the name.
      kind: the kind whose color its bars have.
      level: the number of rows that it is inside of, which precede it.
      above: the path that its name begins with, which is that of the row that it is inside of.
      is_folder: whether the rows after it, with a higher level, are inside of it.
      is_folded: whether those are hidden at first.
    """

    name: str
    cells: Sequence[Cell]
    kind: str = OTHER
    level: int = 0
    above: str = ""
    is_folder: bool = False
    is_folded: bool = False


def document(title: str, sections: Iterable[str]) -> str:
    """Returns a page.

    Args:
      title: its title.
      sections: its contents, as HTML.
    """
    template = Template(resources.files("jds.cost.pages").joinpath("page.html").read_text(encoding="utf-8"))
    # The dark counterpart of black is white; the other colors are seen on both.
    shades = {
        kind: f"light-dark({color}, #fff)" if color == "#000000" else color for kind, color in KIND_COLORS.items()
    }
    colors = [f".{css_class(kind)} {{ --kind: {shade}; }}" for kind, shade in (shades | {OTHER: OTHER_COLOR}).items()]
    return template.substitute(title=escape(title), kinds="\n  ".join(colors), sections="\n".join(sections))


def css_class(kind: str) -> str:
    """Returns the class of elements in the color of a kind."""
    name = family(kind)
    return "k-other" if name == OTHER else f"k-{name}"


def facts(title: str) -> str:
    """Returns the title, and the date, the versions and the machine that a page was made with."""
    machine = machine_facts()
    parts = [
        datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        f"jds {jds_version() or 'of a source tree'}",
        f"JAX {machine['jax']} ({machine['backend']})",
        f"{machine['cpu']}, {machine['cores']} cores",
        str(machine["platform"]),
    ]
    return f'<header><h1>{escape(title)}</h1><p class="soft">{escape(" · ".join(parts))}</p></header>'


def figures(pairs: Iterable[tuple[str, str, str]]) -> str:
    """Returns the most important numbers: for each its name, its text, and a remark."""
    found = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}<small>{escape(remark)}</small></dd></div>"
        for name, text, remark in pairs
    )
    return f'<dl class="figures">{found}</dl>'


def legend(kinds: Iterable[str]) -> str:
    """Returns the colors of those kinds that there are."""
    there = {family(kind) for kind in kinds}
    found = (
        f'<span class="{css_class(kind)}">{escape(kind)}</span>' for kind in (*KIND_COLORS, OTHER) if kind in there
    )
    return f'<p class="legend">{"".join(found)}</p>'


def figure(heading: str, drawing: str, caption: str, below: str = "") -> str:
    """Returns a drawing with a heading and a caption; `below` is HTML that stands between the two."""
    return f"<figure><h2>{escape(heading)}</h2>{drawing}{below}<figcaption>{escape(caption)}</figcaption></figure>"


def notes(paragraphs: Iterable[str]) -> str:
    """Returns paragraphs in small print."""
    return f'<div class="soft notes">{"".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)}</div>'


def table(title: str, headings: Sequence[Heading], entries: Sequence[Entry], totals: Sequence[Entry] = ()) -> str:
    """Returns a table with what it is searched, sorted and folded by.

    Args:
      title: what it is, for those who cannot see it.
      headings: those of the names and of the cells.
      entries: the rows.
      totals: rows that stay at the bottom.
    """
    head = "".join(_heading(heading) for heading in headings)
    most = _most(headings, entries)
    body = "\n".join(_rows(entries, headings, most))
    foot = "".join(f"<tr>{_name(entry)}{_cells(entry, headings, [0.0] * len(most))}</tr>" for entry in totals)
    folds = any(entry.is_folder for entry in entries)
    return (
        f'<section class="view{" folds" if folds else ""}">{_controls(folds)}'
        f'<div class="scroll" role="region" aria-label="{escape(title)}" tabindex="0"><table><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody><tfoot>{foot}</tfoot></table></div></section>"
    )


def _controls(folds: bool) -> str:
    folding = (
        '<button type="button" class="fold">Fold all</button><button type="button" class="unfold">Unfold all</button>'
        '<button type="button" class="flatten" aria-pressed="false" title="Leaves out sums, so that all rows are '
        'sorted together.">No sums</button>'
    )
    return (
        '<div class="controls"><input type="search" placeholder="Search" aria-label="Search the rows">'
        f'{folding if folds else ""}<output class="soft"></output></div>'
    )


def _heading(heading: Heading) -> str:
    tip = f' title="{escape(heading.explanation)}"' if heading.explanation else ""
    bars = f' data-bars="{escape(heading.bars)}"' if heading.bars else ""
    return f'<th scope="col"{heading.css}{tip}{bars}><button type="button">{escape(heading.text)}</button></th>'


def _rows(entries: Sequence[Entry], headings: Sequence[Heading], most: Sequence[Number]) -> Iterable[str]:
    outer: list[int] = []
    folded: list[bool] = []
    for number, entry in enumerate(entries):
        del outer[entry.level :], folded[entry.level :]
        css = f"{css_class(entry.kind)} folded" if any(folded) else css_class(entry.kind)
        up = f" data-up={outer[-1]}" if outer else ""
        yield f'<tr class="{css}"{up}>{_name(entry)}{_cells(entry, headings, most)}</tr>'
        outer.append(number)
        folded.append(entry.is_folded)


def _name(entry: Entry) -> str:
    # The work of a layer itself, without that of the layers inside it, has the name of both.
    before = f"{entry.above} " if entry.above == entry.name else f"{entry.above}/" if entry.above else ""
    last = entry.name.removeprefix(entry.above).removeprefix("/") or "itself"
    words = (f"<i>{_breakable(before)}</i>" if before else "") + _breakable(last)
    if entry.is_folder:
        words = f'<button type="button" aria-expanded="{str(not entry.is_folded).lower()}">{words}</button>'
    level = f' style="--level:{entry.level}"' if entry.level else ""
    return f'<th scope="row"{level}>{words}</th>'


def _breakable(path: str) -> str:
    return escape(path).replace("/", "/<wbr>")


def _cells(entry: Entry, headings: Sequence[Heading], most: Sequence[Number]) -> str:
    return "".join(_cell(*each) for each in zip(entry.cells, headings[1:], most, strict=True))


def _cell(cell: Cell, heading: Heading, most: Number) -> str:
    if cell.value is None:
        return f"<td{heading.css if cell.text else ''}>{escape(cell.text)}</td>"
    part = cell.value / most if most else 0.0
    bar = f' style="--part:{part:.3g}"' if part > 0 else ""
    return f"<td data-value={cell.value:.9g}{bar}>{escape(cell.text)}</td>"


def _most(headings: Sequence[Heading], entries: Sequence[Entry]) -> list[Number]:
    """Returns for each column the value whose bar is as wide as a cell; 0 for columns without bars."""
    most: dict[str | int, Number] = {}
    names = [_scale(heading, i) for i, heading in enumerate(headings[1:])]
    for entry in entries:
        for name, cell in zip(names, entry.cells, strict=True):
            most[name] = max(most.get(name, 0.0), cell.value or 0.0)
    return [most.get(name, 0.0) if name != "" else 0.0 for name in names]


def _scale(heading: Heading, number: int) -> str | int:
    return number if heading.bars is None else heading.bars
