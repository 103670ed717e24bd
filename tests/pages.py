"""Reads HTML pages, for tests of what they say."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Checks that all elements are closed, and gathers text, attributes and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += re.sub(r"\s+", " ", data)

    def all(self, tag: str, class_: str | None = None) -> list[dict[str, str | None]]:
        return [a for name, a in self.tags if name == tag and (class_ is None or a.get("class") == class_)]
