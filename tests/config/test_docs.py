"""config.docs: the page of the configuration is current and complete."""

from __future__ import annotations

from config.docs import PAGE, page
from config.model import Config
from config.reader import fields_of


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m config.docs"


def test_every_section_is_on_the_page() -> None:
    text = page()
    assert all(f"## [{name}]" in text or f"## [[{name}]]" in text for name in fields_of(Config))


def test_every_key_has_words() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert all(len(row.replace("\\|", "").split("|")[4].strip()) > 5 for row in rows)
