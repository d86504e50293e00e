"""A page as a strict reader sees it: whether its tags close, its texts, and all it refers to."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "hr", "img", "input", "col", "area", "base", "source", "wbr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    inside: tuple[str, ...]
    """Ids of the elements around it, the outermost first."""
    text: str = ""


@dataclass
class Page:
    elements: list[Element] = field(default_factory=list)

    def all(self, tag: str, inside: str | None = None) -> list[Element]:
        return [
            element
            for element in self.elements
            if element.tag == tag and (inside is None or inside in element.inside)
        ]

    def by_id(self, identity: str) -> Element:
        (found,) = [e for e in self.elements if e.attributes.get("id") == identity]
        return found

    def texts(self, tag: str, inside: str | None = None) -> list[str]:
        return [" ".join(element.text.split()) for element in self.all(tag, inside)]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self.open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        assert len(attributes) == len(attrs), f"an attribute twice in {self.get_starttag_text()}"
        around = tuple(e.attributes["id"] for e in self.open if "id" in e.attributes)
        element = Element(tag, attributes, around)
        self.page.elements.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].tag == tag, f"</{tag}> where <{self.open[-1].tag}> is open"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def read_page(html: str) -> Page:
    """Parse a page; an AssertionError where a tag is not closed in order."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open, f"never closed: {[element.tag for element in reader.open]}"
    return reader.page
