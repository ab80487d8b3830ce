"""One frame of `signalbox top`: a snapshot as lines, for a terminal of any size, and as plain text.

Problems come first, then the house's rates, carriers, accounts. Where there is too little room, rows and then
columns are left out, and it says so.

Deliberately not here: the terminal, keys, asking (top.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.cli.output import as_text

if TYPE_CHECKING:
    from rich.text import Text

SORTS = {"r": "rate", "w": "waiting", "e": "errors"}
_NARROWEST = 40
_WIDE = 120
_PLAIN_WIDTH = 160
_COUNTED_EVENTS = 1_000
_LAST = 30  # what the last column is given before the first grows
_MOST_NAME = 20  # by which that may
_HELP = (
    "q  quit                      p  pause, and go on",
    "r  sort by rate              w  sort by what waits",
    "e  sort by errors            ?  this help, and back",
    "",
    "Rates are of the last second; 1 MIN is the mean of the last minute.",
    "TPS: segments a second, of the limit. WINDOW: unanswered submits, of all room.",
    "P90: nine of ten answers of the last 10 s came sooner. ERR are refusals, also",
    "THR: those that said too fast. QUEUE: messages that wait; a carrier's are those",
    "of all lanes that name it. EVENTS: what an account is still to be told.",
    "WHY says whose business it is: ours, or theirs (the carrier's).",
)


class Look:
    """What whoever watches has chosen."""

    def __init__(self, sort: str = "rate") -> None:
        self.sort = sort
        self.paused = False
        self.help = False

    def press(self, key: str) -> bool:
        """Whether the frame is another one now."""
        if key in SORTS:
            self.sort = SORTS[key]
        elif key == "p":
            self.paused = not self.paused
        elif key in ("?", "h"):
            self.help = not self.help
        else:
            return False
        return True


class Line(NamedTuple):
    """`style`: of rich, "" = none."""

    text: str
    style: str = ""


class _Column(NamedTuple):
    heading: str
    width: int
    of: Callable[[dict[str, Any]], str]
    wide: bool = False  # only where there is much room
    left: bool = False


def frame(snapshot: dict[str, Any], look: Look, width: int, height: int) -> Text:
    """For a terminal of that size."""
    from rich.text import Text

    shown = Text(no_wrap=True, overflow="crop", end="")
    *above, keys = lines(snapshot, look, width, height)
    empty = [Line("")] * (height - len(above) - 1)
    for number, line in enumerate([*above, *empty, keys]):
        shown.append("\n" if number else "")
        shown.append(line.text, style=line.style)
    return shown


def plain(snapshot: dict[str, Any], look: Look) -> str:
    """Everything, once."""
    found = lines(snapshot, look, _PLAIN_WIDTH, 10_000)
    return "\n".join(line.text.rstrip() for line in found[:-1])


def lines(snapshot: dict[str, Any], look: Look, width: int, height: int) -> list[Line]:
    """At most `height`, each at most `width` characters; the last one has the keys."""
    width = max(_NARROWEST, width)
    keys = Line(
        _fit(f" q quit  r/w/e sort (by {look.sort})  p {'go on' if look.paused else 'pause'}  ? help", width),
        "reverse",
    )
    head = [*_head(snapshot, look, width)]
    if look.help:
        told = [*head, Line(""), *(Line(_fit(one, width)) for one in _HELP)]
        return [*told[: height - 1], keys]
    room = height - len(head) - 1
    troubles = _troubles(snapshot["problems"], width, max(1, min(4 if height < 40 else 10, room // 4)))
    room -= len(troubles)
    accounts = snapshot["accounts"] or []
    carriers = snapshot["carriers"]
    # A heading and an empty line each; carriers first, but accounts get a third of what there is.
    rows = max(0, room - 4)
    of_accounts = min(len(accounts), max(rows - len(carriers), rows // 3))
    of_carriers = min(len(carriers), rows - of_accounts)
    body = [
        *troubles,
        *_table(_CARRIERS, _sorted(carriers, look.sort, _CARRIER_KEYS), width, of_carriers, _carrier_style),
        *_table(_ACCOUNTS, _sorted(accounts, look.sort, _ACCOUNT_KEYS), width, of_accounts, _account_style),
    ]
    return [*[*head, *body][: height - 1], keys]


def _head(snapshot: dict[str, Any], look: Look, width: int) -> list[Line]:
    now, minute = snapshot["last_second"], snapshot["last_minute"]
    status = snapshot["status"]
    state = " PAUSED" if look.paused else ""
    ratio = snapshot["delivered_ratio"]
    delivered = f"{ratio:.1%} delivered (5 min)" if ratio is not None else "nothing ended lately"
    oldest = f", oldest {_span(snapshot['oldest_age_s'])}" if snapshot["oldest_age_s"] else ""
    style = {"ok": "bold green", "degraded": "bold yellow", "failing": "bold red"}.get(status, "bold")
    return [
        Line(_fit(f"Signalbox {snapshot['at'][11:19]} UTC  {status}{state}", width), style),
        Line(
            _fit(
                "  ".join(
                    f"{name} {_rate(now[name])}/s"
                    for name in ("accepted", "sent", "delivered", "failed", "refused", "mo")
                ),
                width,
            ),
            "bold",
        ),
        Line(
            _fit(
                "1 min: "
                + "  ".join(
                    f"{name} {_rate(minute[name])}" for name in ("accepted", "sent", "delivered", "refused")
                ),
                width,
            )
        ),
        Line(
            _fit(
                f"waiting {snapshot['waiting']:,}{oldest}  events {snapshot['events']:,}  {delivered}", width
            )
        ),
    ]


def _troubles(problems: Sequence[dict[str, Any]], width: int, most: int) -> list[Line]:
    if not problems:
        return []
    shown = [
        Line(
            _fit(f"! {as_text(one['subject']).rstrip(':')} {as_text(one['what'])}", width),
            "bold red" if one["severity"] == "critical" else "yellow",
        )
        for one in problems[:most]
    ]
    if len(problems) > most:
        shown[-1] = Line(
            _fit(f"! and {len(problems) - most + 1} more problems: signalbox status", width), "yellow"
        )
    return shown


def _table(
    columns: Sequence[_Column],
    rows: Sequence[dict[str, Any]],
    width: int,
    most: int,
    style: Callable[[dict[str, Any]], str],
) -> list[Line]:
    """An empty line, the heading, rows; the last column has the rest of the width."""
    chosen = [column for column in columns if not column.wide or width >= _WIDE]
    spare = max(0, min(_MOST_NAME, width - sum(one.width + 1 for one in chosen) - _LAST))
    widths = [column.width + (spare if place == 0 else 0) for place, column in enumerate(chosen)]
    left_out = f" ({len(rows) - most} more)" if most < len(rows) else ""
    heading = _joined(chosen, widths, [column.heading for column in chosen])
    found = [Line(""), Line(_fit(heading + left_out, width), "bold underline")]
    for row in rows[:most]:
        cells = [as_text(column.of(row)) for column in chosen]
        found.append(Line(_fit(_joined(chosen, widths, cells), width), style(row)))
    return found


def _joined(columns: Sequence[_Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    parts = []
    for place, (column, width, cell) in enumerate(zip(columns, widths, cells, strict=True)):
        if place == len(columns) - 1:
            parts.append(cell)
        else:
            parts.append(f"{_fit(cell, width):<{width}}" if column.left else f"{_fit(cell, width):>{width}}")
    return " ".join(parts)


def _sorted(
    rows: Sequence[dict[str, Any]], sort: str, keys: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (*(-row[name] for name in keys[sort]), row["name"]))


_CARRIER_KEYS = {
    "rate": ("sent_per_s", "sent_mean"),
    "waiting": ("waiting", "window_used"),
    "errors": ("errors_per_s", "errors_mean", "throttled_per_s", "throttled_mean"),
}
_ACCOUNT_KEYS = {
    "rate": ("accepted_per_s", "accepted_mean"),
    "waiting": ("waiting", "backlog"),
    "errors": ("refused_per_s", "refused_mean"),
}
_CARRIERS = (
    _Column("CARRIER", 11, lambda row: row["name"], left=True),
    _Column("BINDS", 5, lambda row: f"{row['binds']}/{row['binds_wanted']}"),
    _Column("TPS", 9, lambda row: _of(row["sent_per_s"], row["tps_limit"])),
    _Column("1 MIN", 7, lambda row: _rate(row["sent_mean"]), wide=True),
    _Column("WINDOW", 8, lambda row: f"{row['window_used']}/{row['window']}"),
    _Column("P50", 6, lambda row: _seconds(row["response_p50_s"]), wide=True),
    _Column("P90", 6, lambda row: _seconds(row["response_p90_s"])),
    _Column("ERR/s", 5, lambda row: _rate(row["errors_per_s"] + row["throttled_per_s"])),
    _Column("THR/s", 5, lambda row: _rate(row["throttled_per_s"]), wide=True),
    _Column("RECEIPTS/s", 10, lambda row: _rate(row["receipts_per_s"]), wide=True),
    _Column("MO/s", 5, lambda row: _rate(row["mo_per_s"]), wide=True),
    _Column("DELIVERED", 9, lambda row: _share(row["delivered_ratio"]), wide=True),
    _Column("QUEUE", 7, lambda row: _count(row["waiting"])),
    _Column("OLDEST", 6, lambda row: _span(row["oldest_age_s"]) if row["waiting"] else "", wide=True),
    _Column("WHY", 0, lambda row: _why(row), left=True),
)
_ACCOUNTS = (
    _Column("ACCOUNT", 17, lambda row: row["name"], left=True),
    _Column("IN/s", 11, lambda row: _of(row["accepted_per_s"], row["tps_limit"])),
    _Column("1 MIN", 7, lambda row: _rate(row["accepted_mean"])),
    _Column("REF/s", 6, lambda row: _rate(row["refused_per_s"])),
    _Column("QUEUE", 7, lambda row: _count(row["waiting"])),
    _Column("EVENTS", 7, lambda row: counted_so_far(row["backlog"])),
    _Column("BINDS", 5, lambda row: str(row["binds"] or "")),
    _Column("REFUSED FOR", 0, lambda row: "suspended" if row["suspended"] else row["refused_for"], left=True),
)


def _carrier_style(row: dict[str, Any]) -> str:
    if row["why"] in ("no_bind", "circuit_open", "window_stuck"):
        return "red"
    if row["why"] in ("suspended", "maintenance", "trial", "paused"):
        return "yellow"
    return "yellow" if row["errors_per_s"] or row["throttled_per_s"] else ""


def _account_style(row: dict[str, Any]) -> str:
    return "yellow" if row["suspended"] or row["refused_per_s"] else ""


# cells


def _why(row: dict[str, Any]) -> str:
    """Why it takes no more, or badly, and whose business that is."""
    side, detail = row["side"], row["detail"]
    return f"{side}: {detail}" if side and detail else str(detail)


def _fit(text: str, width: int) -> str:
    """Cut with an ellipsis; wide characters count as two cells."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…"


def _rate(per_s: float) -> str:
    return "0" if not per_s else f"{per_s:.1f}" if per_s < 10 else f"{per_s:,.0f}"


def _of(used: float, limit: float) -> str:
    return f"{_rate(used)}/{_limit(limit)}" if limit else _rate(used)


def _limit(limit: float) -> str:
    """One that follows what a carrier answers is any number."""
    return f"{limit:.3g}" if limit < 1_000 else f"{limit:.0f}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds >= 1:
        return f"{seconds:.1f}s"
    return f"{seconds * 1000:.1f}ms" if seconds < 0.01 else f"{seconds * 1000:.0f}ms"


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f}{name}"
    return f"{seconds:.0f}s"


def _share(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1%}"


def _count(number: int) -> str:
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:.1f}M"


def counted_so_far(events: int) -> str:
    """Nobody counts an endpoint's events further (gateway.figures)."""
    return f"{events:,}+" if events >= _COUNTED_EVENTS else f"{events}"
