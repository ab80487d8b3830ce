"""What the act that releases held messages takes (gateway.admin_verbs does it).

Deliberately not here: the verb.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class HeldRelease(msgspec.Struct, forbid_unknown_fields=True):
    """`held_as`: what they are held for; `carrier`: only what is unknown, or suspect, with this one."""

    held_as: Literal["restored", "unknown", "suspect", "refused"] = "restored"
    carrier: str = ""
    preview: bool = False
