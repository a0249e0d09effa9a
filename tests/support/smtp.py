"""An SMTP server that does as the recipient's name says: smtp.py FOLDER

It listens on a free port of this machine, which it prints, with STARTTLS by the certificate
in FOLDER if there is one. A mail that it takes is a file in FOLDER.
"""

import asyncio
import itertools
import ssl
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP

FOLDER = Path(sys.argv[1])
NUMBERS = itertools.count()
DEFERRED = set()


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        name = address.split("@")[0]
        if name == "refused":
            return f"550 5.1.1 <{address}>: no such user"
        if name.startswith("greylisted") and address not in DEFERRED:
            DEFERRED.add(address)
            return "450 4.7.1 come back later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        [address] = envelope.rcpt_tos
        name = address.split("@")[0]
        if name.startswith("cut") and address not in DEFERRED:
            # The connection ends in the middle of DATA, without a word.
            DEFERRED.add(address)
            server.transport.abort()
            return "421 4.3.0 never sent"
        if name.startswith("hanging") and address not in DEFERRED:
            DEFERRED.add(address)
            await asyncio.Event().wait()
        part = FOLDER / "part"
        tls = "TLS" if session.ssl else "plain"
        part.write_bytes(f"{address} {tls}\n".encode() + envelope.content)
        part.rename(FOLDER / f"{next(NUMBERS)}.eml")
        return "250 2.0.0 OK"


async def main():
    context = None
    if (FOLDER / "cert.pem").exists():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(FOLDER / "cert.pem", FOLDER / "key.pem")
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Handler(), tls_context=context, require_starttls=context is not None),
        "127.0.0.1", 0,
    )
    print("listening on", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
