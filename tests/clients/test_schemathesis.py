"""Every check of schemathesis, in all its phases."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# All cases take minutes: a part of .ci/release.
CASES = 2000 if os.environ.get("SIGNUP_TEST_FULL") else 100


def run(server, folder, cases):
    """Runs all checks, and returns the report."""
    report = folder / "report.json"
    run = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
            "run", f"{server.url}/openapi.json",
            f"--max-examples={cases}", "--continue-on-failure", "--seed=1",
            "--report=json", f"--report-json-path={report}",
        ],
        env=os.environ | {
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": Path(__file__).parent,
        },
        # It keeps notes of its runs where it runs.
        cwd=folder, capture_output=True, text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    result = json.loads(report.read_text())
    print(result["test_cases"], result["valid_rates"])
    assert not result["failures"] and not result["errors"]
    assert result["test_cases"]["generated"] >= cases
    phases = {name: phase["status"] for name, phase in result["phases"].items()}
    # The last one follows links, which the sign-up has where it makes an account.
    stateful = phases.pop("stateful")
    assert phases == dict.fromkeys(["examples", "coverage", "fuzzing"], "success")
    return result, stateful


def test_no_case_of_schemathesis_fails(server, tmp_path):
    result, stateful = run(server, tmp_path, CASES)
    assert stateful == "success"
    # Cases that are all refused would pass as well. Most good ones find their
    # address taken: schemathesis likes to use one again.
    rates = result["valid_rates"]["POST /auth/signup"]["fuzzing"]
    assert rates["accepted"] > 0 and rates["conflicts"] > 0


@pytest.mark.parametrize("mode", ["first", "after"])
def test_no_case_fails_where_addresses_are_proven(mode, start, tmp_path):
    server = start("axum", SIGNUP_VERIFICATION=mode, SIGNUP_RATE_LIMIT="off")
    result, _ = run(server, tmp_path, min(CASES, 200))
    assert result["valid_rates"]["POST /auth/signup"]["fuzzing"]["accepted"] > 0
