import subprocess
from pathlib import Path

import pytest


@pytest.mark.slow
def test_mini_runs_as_jobs_of_slurm(tmp_path):
    script = Path(__file__).with_name("slurm.sh")
    result = subprocess.run([script, tmp_path], capture_output=True, text=True, timeout=900)
    if result.returncode == 77:
        pytest.skip(result.stderr.strip().splitlines()[-1])
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "slurm.sh: cancelled job" in result.stderr
    assert "are those of a run on this machine" in result.stdout
