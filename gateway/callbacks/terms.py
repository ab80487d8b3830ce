"""Which format an event leaves in, and on what terms: by its message's choice, else by its account's.

Deliberately not here: the formats, the clock and chance (both are arguments).
"""

from __future__ import annotations

from gateway.callbacks.formats import BY_NAME, FORMATS, Format, Terms
from gateway.ids import account_sid_among
from router.nouns import Account, CallbackFormat, Event

_STANDARD = FORMATS[CallbackFormat.STANDARD]


def format_of(account: Account, event: Event) -> Format:
    """A format that this version does not know is our own one."""
    choice = event.callback
    if choice is not None:
        return FORMATS.get(choice.format, _STANDARD)
    return BY_NAME.get(account.callback_format, _STANDARD)


def terms_of(account: Account, event: Event, url: str, now_ms: int, chance: int = 0) -> Terms:
    """`chance`: 128 random bits, for a format that signs a nonce."""
    return Terms(
        url,
        now_ms,
        account.id,
        account.name,
        event.callback,
        account.callback_method,
        account.callback_signature,
        secrets_in_force(account, now_ms),
        f"{chance:032x}",
        account.callback_batch > 1 and event.callback is None,
        account_sid_among(login.system_id for login in account.app_logins) if account.app_logins else "",
    )


def secrets_in_force(account: Account, now_ms: int) -> tuple[str, ...]:
    """Newest first; the older ones end where their time is set, else with the next rotation."""
    secrets, until_ms = account.callback_secrets, account.callback_secrets_until_ms
    return secrets[:1] if until_ms and now_ms >= until_ms else secrets
