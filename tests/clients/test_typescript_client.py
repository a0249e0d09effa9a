"""A client in TypeScript, of types that openapi-typescript generates."""

import os
import shutil
import subprocess
from pathlib import Path

from conftest import SECRET

PACKAGES = Path(os.environ["SIGNUP_NODE_MODULES"])


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_generated_types_and_jose_agree_with_the_server(server, tmp_path):
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(Path(__file__).with_name("client.ts"), tmp_path)
    server.document(tmp_path / "openapi.json")
    tools = PACKAGES / ".bin"
    run(tools / "openapi-typescript", "openapi.json", "-o", "schema.d.ts", cwd=tmp_path)
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node"]
    run(tools / "tsc", *options, "client.ts", cwd=tmp_path)
    run("node", "client.js", server.url, SECRET, cwd=tmp_path)
