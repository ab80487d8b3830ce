"""Scripts and styles: our own (static/), and those of npm packages (node_modules/, installed by the set-up).

Each is served under a name with a hash of its bytes, for ever cachable; all are read once. An asset of npm
that is not installed is left out: pages are whole without scripts, and the foot of each says what is missing.

Deliberately not here: installing (bin/_bootstrap.py), which page uses what (templates/base.html).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import structlog

HERE = Path(__file__).parent
# URL name → file of an npm package, pinned in package.json
PACKAGES = {
    "htmx.js": "htmx.org/dist/htmx.min.js",
    "hx-sse.js": "htmx.org/dist/ext/hx-sse.min.js",
    "uplot.js": "uplot/dist/uPlot.iife.min.js",
    "uplot.css": "uplot/dist/uPlot.min.css",
    "tinykeys.js": "tinykeys/dist/tinykeys.umd.js",
}
KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
PREFIX = "/console/static/"

log = structlog.get_logger("console")


class Assets:
    """All of them in memory, some 150 KB."""

    def __init__(self, static: Path = HERE / "static", modules: Path = HERE / "node_modules") -> None:
        files = {path.name: path for path in sorted(static.iterdir()) if path.suffix in KINDS}
        files |= {name: modules / path for name, path in PACKAGES.items()}
        self._urls: dict[str, str] = {}
        self._found: dict[str, tuple[str, bytes]] = {}
        self.missing: list[str] = []
        for name, path in files.items():
            if not path.is_file():
                self.missing.append(name)
                continue
            body = path.read_bytes()
            hashed = f"{hashlib.sha256(body).hexdigest()[:12]}/{name}"
            self._urls[name] = PREFIX + hashed
            self._found[hashed] = KINDS[path.suffix], body
        if self.missing:
            log.warning(
                "console without scripts",
                missing=", ".join(self.missing),
                hint="pages work, but do not move by themselves; `./bin/signalbox --version` installs them "
                "where npm or the network is there",
            )

    def url(self, name: str) -> str:
        """Where an asset is. Errors: KeyError for one that there is not."""
        return self._urls[name]

    def has(self, name: str) -> bool:
        return name in self._urls

    def find(self, hashed: str) -> tuple[str, bytes] | None:
        """Content type and bytes of `<hash>/<name>`."""
        return self._found.get(hashed)
