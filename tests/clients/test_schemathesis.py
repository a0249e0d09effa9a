"""Every check of schemathesis, in all its phases."""

import json
import os
import subprocess
import sys
from pathlib import Path

CASES = 2000


def test_no_case_of_schemathesis_fails(server, tmp_path):
    report = tmp_path / "report.json"
    run = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{server.url}/openapi.json",
            "--checks=all", f"--max-examples={CASES}", "--continue-on-failure", "--seed=1",
            "--report=json", f"--report-json-path={report}",
        ],
        env=os.environ | {
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": Path(__file__).parent,
        },
        # It keeps notes of its runs where it runs.
        cwd=tmp_path, capture_output=True, text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    result = json.loads(report.read_text())
    print(result["test_cases"], result["valid_rates"])
    assert not result["failures"] and not result["errors"]
    assert result["test_cases"]["generated"] >= CASES
    phases = {name: phase["status"] for name, phase in result["phases"].items()}
    assert phases == dict.fromkeys(["examples", "coverage", "fuzzing", "stateful"], "success")
    # Cases that are all refused would pass as well. Most good ones find their
    # address taken: schemathesis likes to use one again.
    rates = result["valid_rates"]["POST /auth/signup"]["fuzzing"]
    assert rates["accepted"] > 0 and rates["conflicts"] > 0
