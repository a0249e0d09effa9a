"""A client that openapi-python-client generates, and PyJWT."""

import importlib
import subprocess
import sys
import uuid
from pathlib import Path

import jwt
import pytest

from conftest import SECRET


@pytest.fixture
def generated(server, tmp_path, monkeypatch):
    """The client as a package, generated from what the server serves."""
    document = server.document(tmp_path / "openapi.json")
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    subprocess.run(
        [
            Path(sys.executable).with_name("openapi-python-client"), "generate", "--meta=none",
            "--path", document, "--config", tmp_path / "config.yaml",
            "--output-path", tmp_path / "signup_client",
        ],
        check=True, capture_output=True,
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("signup_client")
    for name in [name for name in sys.modules if name.startswith("signup_client")]:
        del sys.modules[name]


def test_the_generated_client_reads_every_answer(server, generated):
    models = importlib.import_module("signup_client.models")
    signup = importlib.import_module("signup_client.api.default.signup")
    client = generated.Client(base_url=server.url)

    def post(email, password, **name):
        body = models.SignupRequest(email=email, password=password, **name)
        answer = signup.sync_detailed(client=client, body=body)
        return answer.status_code, answer.parsed

    status, created = post("dev@example.com", "correct horse", name="Jane Developer")
    assert (status, type(created)) == (201, models.Signup)
    account = created.data.account
    assert account.email == "dev@example.com" and account.name == "Jane Developer"
    assert account.id.startswith("acc_")
    assert account.plan is models.SignupDataAccountPlan.TRIAL
    assert created.data.api_key.startswith("rag_live_")
    claims = jwt.decode(
        created.data.token, SECRET, algorithms=["HS256"], audience="dashboard", issuer="signup",
        options={"require": ["exp", "iat", "jti", "sub"]},
    )
    assert claims["sub"] == account.id
    assert not created.additional_properties and not account.additional_properties

    _, nameless = post("other@example.com", "correct horse")
    assert nameless.data.account.name is None

    key = str(uuid.uuid4())
    body = models.SignupRequest(email="retried@example.com", password="correct horse")
    first, again = (
        signup.sync_detailed(client=client, body=body, idempotency_key=key) for _ in range(2)
    )
    assert [first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]] == [
        None, "true",
    ]
    assert (again.status_code, again.parsed) == (201, first.parsed)

    status, taken = post("DEV@example.com", "correct horse")
    assert (status, type(taken)) == (409, models.SignupError)
    assert taken.error.code is models.SignupErrorErrorCode.CONFLICT
    assert taken.error.message == "An account with this email already exists"

    status, invalid = post("nobody", "short")
    assert (status, type(invalid)) == (400, models.SignupError)
    assert invalid.error.code is models.SignupErrorErrorCode.VALIDATION_ERROR
    issues = [(issue.path, issue.message) for issue in invalid.error.details.issues]
    assert issues == [
        (["email"], "Invalid email"),
        (["password"], "String must contain at least 8 character(s)"),
    ]
