"""`signalbox run`: the gateway in the foreground, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import click

from gateway.admin_client import AdminError
from gateway.cli.failure import CONFIG, FAILED, STORE, UNREACHABLE, Failure
from gateway.cli.place import Place, place_options


@click.command()
@place_options
def run(place: Place) -> int:
    """Start the gateway and stay in the foreground; SIGTERM or Ctrl-C drains and stops it."""
    place.config  # noqa: B018 -- a wrong configuration is told before anything else is loaded
    from gateway.app import main

    try:
        return main(place.config_path, place.given_data_dir) or 0
    except (Exception, BaseExceptionGroup) as error:
        known = failure_of(only_leaf(error))
        if known is None:
            raise
        raise known from None


def only_leaf(error: BaseException) -> BaseException:
    """What nurseries wrapped in groups, when it was one thing; else the group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def failure_of(error: BaseException) -> Failure | None:
    """An expected reason why a gateway cannot start, in words; None for a bug."""
    from gateway.certificates import CertificateProblem
    from gateway.revisions import RevisionProblem
    from store.interface import StoreBusy, StoreError

    if isinstance(error, CertificateProblem):
        return Failure(str(error), "the TLS files of listeners must be good when the gateway starts", CONFIG)
    if isinstance(error, StoreBusy):
        return Failure(str(error), error.hint or "another gateway uses this data directory", UNREACHABLE)
    if isinstance(error, StoreError):
        return Failure(str(error), error.hint, STORE)
    if isinstance(error, RevisionProblem):
        return Failure(
            str(error), "`signalbox reload` ends the roll-back: the next start reads the file", CONFIG
        )
    if isinstance(error, AdminError):
        return Failure(error.message, error.hint, UNREACHABLE)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return Failure(
            f"cannot start: {error.strerror or error}{where}",
            "is another program on that port, or may this user not use it?",
            FAILED,
        )
    return None
