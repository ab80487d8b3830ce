"""How a carrier stands in single countries: out, or on trial, while its other messages go on.

What goes to a country (calling code) that a carrier of the lane is out for stands in a lane of its own
(gateway.carriers.lanes), with the same carriers, weights and route; the carrier skips that lane whole, or
takes of it no more than its trial. What it leased before goes back into that lane unsent, and no attempt is
counted.

A carrier without such countries has no `Standings` at all: then nothing of this is asked.

Deliberately not here: what is too bad (router.health), who decides (gateway.countries).
"""

from __future__ import annotations

from router.cells import CODES


class Standing:
    """One carrier in one country. `left`: segments it may still take of its trial; 0 while it is `out`."""

    __slots__ = ("left", "out")

    def __init__(self) -> None:
        self.out = True
        self.left = 0


Standings = dict[int, Standing]  # by calling code


def code_of(destination: str) -> int:
    """The calling code of a number in digits; 0: it has none."""
    return CODES.get(destination[:3], 0)


def takes(standings: Standings | None, country: int) -> bool:
    """Whether a carrier may be given messages to a country (0 = any)."""
    if standings is None or not country:
        return True
    standing = standings.get(country)
    return standing is None or standing.left > 0
