"""`signalbox run`: the gateway in the foreground, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import click

from gateway.cli.failure import STORE, UNREACHABLE, Failure
from gateway.cli.place import Place, place_options


@click.command()
@place_options
def run(place: Place) -> int:
    """Start the gateway and stay in the foreground; SIGTERM or Ctrl-C drains and stops it."""
    place.config  # noqa: B018 -- a wrong configuration is told before anything else is loaded
    from gateway.admin import AdminError
    from gateway.app import main
    from store.interface import StoreBusy, StoreError

    try:
        code = main(place.config_path, place.given_data_dir)
    except StoreBusy as error:
        raise Failure(
            str(error), error.hint or "another gateway uses this data directory", UNREACHABLE
        ) from None
    except StoreError as error:
        raise Failure(str(error), error.hint, STORE) from None
    except AdminError as error:
        raise Failure(error.message, error.hint, UNREACHABLE) from None
    return code or 0
