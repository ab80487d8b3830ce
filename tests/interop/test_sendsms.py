"""A real smsbox asked what our sendsms is asked, so that the transcripts stay what Kannel 1.4.5 says.

tests/gateway/http/apps/test_kannel.py holds ours to the same table. Needs Debian's kannel.

Deliberately not here: our answers.
"""

from __future__ import annotations

from pathlib import Path

import trio

from tests.gateway.http.apps.sendsms import ASKED, PASSWORD, USER
from tests.interop.house import PATIENCE_S, HttpReader
from tests.interop.kannel import needs_kannel
from tests.interop.test_kannel import bound
from tests.trio_case import trio_test

pytestmark = needs_kannel

MORE = f"""transceiver-mode = true

group = sendsms-user
username = {USER}
password = {PASSWORD}
max-messages = 10
"""


async def asked(port: int, raw: bytes) -> tuple[int, bytes]:
    with trio.fail_after(PATIENCE_S):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(raw)
            found = await HttpReader(stream).next()
    assert found is not None
    return int(found[0].split(" ")[1]), found[1]


@trio_test
async def test_smsbox_answers_as_the_table_says(tmp_path: Path) -> None:
    async with bound(tmp_path, MORE) as (_, it):
        answers = {one.name: await asked(it.sendsms, one.raw) for one in ASKED}
    assert answers == {one.name: (one.status, one.body) for one in ASKED}
