"""The example servers as processes of their own, for clients in other languages."""

import os
import re
import subprocess
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SECRET = "0123456789abcdef0123456789abcdef"


class Server:
    """An example server on a free port, on a database of its own."""

    def __init__(self, name, folder, **settings):
        environment = os.environ | settings | {
            "SIGNUP_ADDR": "127.0.0.1:0",
            "SIGNUP_JWT_SECRET": SECRET,
            "SIGNUP_RATE_LIMIT": "off",
            "DATABASE_URL": f"sqlite://{folder}/signup.db",
        }
        binary = TARGET / "debug" / "examples" / name
        self.errors = Path(folder, "stderr")
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [binary], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        line = self.process.stdout.readline()
        self.url = re.fullmatch(r"listening on (http://\S+)\n", line)[1]

    def document(self, path):
        """The served document, as a file."""
        path.write_bytes(httpx.get(f"{self.url}/openapi.json").raise_for_status().content)
        return path

    def code(self, address, number=1):
        """The code of a mail to this address, which a server without SMTP prints."""
        mails = re.compile(rf"mail to {re.escape(address)}: Your code\n.*\n\n(\S{{4}}-\S{{4}})\n")
        while len(found := mails.findall(self.errors.read_text())) < number:
            assert self.process.poll() is None
            time.sleep(0.01)
        return found[number - 1]

    def stop(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def start(tmp_path_factory):
    """Starts servers, and stops them with the test."""
    started = []

    def start(name, **settings):
        started.append(Server(name, tmp_path_factory.mktemp(name), **settings))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(params=["axum", "actix"])
def server(request, start):
    """Either of the example servers."""
    return start(request.param)
