"""How one message's callbacks leave, as the endpoints of other APIs let their users choose it.

For whoever takes messages by another API: make the `Callbacks` of its parameters with the function of that
API and hand it to a submission with `attach`. The submission then has the URL, the format, and the receipts
that the format needs.

    submission = kannel(dlr_url, dlr_mask, service="alice", smsc="north").attach(submission)

Deliberately not here: reading those APIs' parameters, the formats (gateway.callbacks.formats).
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.callbacks.formats import jasmin as jasmin_format
from gateway.callbacks.formats import kannel as kannel_format
from gateway.door import Submission
from router.nouns import CallbackChoice, CallbackFormat, ReceiptWish

_FAILURES = kannel_format.FAILED | kannel_format.SMSC_REJECTED


class Callbacks(NamedTuple):
    """`wish`: the ReceiptWish that it takes, -1 = the account's default."""

    url: str
    choice: CallbackChoice | None
    wish: int

    def attach(self, submission: Submission) -> Submission:
        """The same submission, with these callbacks."""
        submission.callback_url = self.url
        submission.callback = self.choice
        submission.wish = self.wish
        return submission


NONE = Callbacks("", None, -1)  # nothing was chosen: its account's own callbacks, where it has any


def kannel(dlr_url: str, dlr_mask: int, **given: str) -> Callbacks:
    """`dlr-url`, a template, and `dlr-mask`. Without either there is no choice of the message's own.

    `given`: what escapes repeat, where the submitter said it: service (%n), smsc (%i), account (%o), binfo
    (%B), meta_data (%D), mclass, mwi, validity, deferred, to and from_ as they were written.
    """
    mask = dlr_mask & kannel_format.ALL
    if not dlr_url or not mask:
        return NONE
    names = tuple((_KANNEL_NAMES.get(name, name), value) for name, value in given.items() if value)
    choice = CallbackChoice(CallbackFormat.KANNEL, mask, "", bool(mask & kannel_format.SMSC_ACCEPTED), names)
    return Callbacks(dlr_url, choice, _wish(mask))


_KANNEL_NAMES = {"meta_data": "meta-data", "from_": "from"}


def _wish(mask: int) -> int:
    success, failure = mask & kannel_format.DELIVERED, mask & _FAILURES
    if mask & kannel_format.QUEUED:
        if success and failure:
            return ReceiptWish.ALL
        if failure:
            return ReceiptWish.FAILURE_ALL
        return ReceiptWish.SUCCESS_ALL if success else ReceiptWish.INTERMEDIATE
    if success and failure:
        return ReceiptWish.FINAL
    if failure:
        return ReceiptWish.FAILURE
    return ReceiptWish.SUCCESS if success else ReceiptWish.NONE


def jasmin(dlr_url: str, dlr_level: int = jasmin_format.SMSC, dlr_method: str = "POST") -> Callbacks:
    """`dlr-url`, `dlr-level` (1 to 3) and `dlr-method` (GET or POST)."""
    if not dlr_url:
        return NONE
    tells_sent = dlr_level != jasmin_format.TERMINAL
    choice = CallbackChoice(CallbackFormat.JASMIN, dlr_level, dlr_method.lower(), tells_sent)
    return Callbacks(
        dlr_url, choice, ReceiptWish.FAILURE if dlr_level == jasmin_format.SMSC else ReceiptWish.FINAL
    )


def twilio(status_callback: str, account_sid: str = "") -> Callbacks:
    """`StatusCallback`: sent, and then delivered, undelivered or failed.

    `account_sid`: of the request's path, which its callbacks name.
    """
    if not status_callback:
        return NONE
    given = (("account-sid", account_sid),) if account_sid else ()
    choice = CallbackChoice(CallbackFormat.TWILIO, tells_sent=True, given=given)
    return Callbacks(status_callback, choice, ReceiptWish.FINAL)


def vonage(callback: str, status_report: bool = True, api_key: str = "") -> Callbacks:
    """`callback` and `status-report-req`; without a URL of its own the account's is told, in this format.

    `api_key`: what the app logged in with, which its receipts name.
    """
    if not status_report:
        return NONE
    given = (("api-key", api_key),) if api_key else ()
    return Callbacks(callback, CallbackChoice(CallbackFormat.VONAGE, given=given), ReceiptWish.FINAL)
