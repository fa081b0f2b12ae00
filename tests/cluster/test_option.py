import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT, run_python
from docs_blocks import of_language

from soctk.cluster import option, workers
from soctk.errors import SoctkError
from soctk.schema import ClusterConfig


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "cluster").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_files_of_soctk_are_valid(path):
    settings = option.parse(str(path))
    assert settings == ClusterConfig(**yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("block", of_language("yaml"), ids=str)
def test_the_files_in_the_documents_are_valid(block, tmp_path):
    assert block.page == "docs/cluster.md"
    (tmp_path / "cluster.yaml").write_text(block.text)
    assert isinstance(option.parse(str(tmp_path / "cluster.yaml")), ClusterConfig)


def test_workers_of_this_machine_have_a_short_form():
    assert option.parse("local:3") == ClusterConfig(kind="local", workers=3)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"kind": "slurm", "workers": 4, "options": {"processes": 2}}, {"jobs": 4}),
        ({"kind": "local", "workers": 4}, {"n": 4}),
        ({"kind": "ssh", "workers": 4, "hosts": ["one", "two"]}, {"n": 2}),
    ],
)
def test_all_workers_are_asked_for_again(settings, expected):
    """dask_jobqueue's `scale(n)` counts processes, of which a job may have several."""
    asked = []
    cluster = SimpleNamespace(scale=lambda n=0, jobs=0: asked.append({"n": n} if n else {"jobs": jobs}))
    workers._fill(cluster, ClusterConfig(**settings))
    assert asked == [expected]


def test_the_shell_of_an_ssh_host_gets_the_path_of_python_quoted(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "SSHCluster", lambda hosts, **options: (hosts, options))
    monkeypatch.setattr(sys, "executable", "/a folder/bin/python")
    hosts, options = workers._make(ClusterConfig(kind="ssh", workers=1, hosts=["one", "two"]), tmp_path)
    assert hosts == ["one", "one", "two"]
    assert options["remote_python"] == "'/a folder/bin/python'"


@pytest.mark.parametrize("address", ["tcp://host:8786", "tls://10.0.0.1:8786"])
def test_an_address_is_returned(address):
    assert option.parse(address) == address


@pytest.mark.parametrize(
    "value", ["local:0", "local:", "local:two", "host:8786", "conf/cluster/missing.yaml", "tcp://"]
)
def test_other_values_are_refused(value):
    with pytest.raises(SoctkError, match=f"--cluster {value}: no such file\nGive a cluster file such as"):
        option.parse(value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("kind: slrum\nworkers: 1", "kind: Input should be 'local'"),
        ("kind: slurm\nworkers: 0", "workers: Input should be greater than or equal to 1"),
        ("kind: slurm\nworkers: 1\nqueue: short", "queue: Extra inputs are not permitted"),
        ("kind: slurm\nworkers: 1\ngpus: true", "gpus is for kind: local; ask for a GPU in the options of slurm"),
        ("kind: ssh\nworkers: 1", "hosts, the machines of the workers, are needed for kind: ssh"),
        ("kind: local\nworkers: 1\nhosts: [one]", "hosts, the machines of the workers, are needed for kind: ssh"),
        ("[1, 2]", "not a YAML mapping"),
    ],
)
def test_wrong_settings_in_a_file_are_named(tmp_path, content, message):
    file = tmp_path / "my cluster.yaml"
    file.write_text(content)
    with pytest.raises(SoctkError) as error:
        option.parse(str(file))
    assert message in str(error.value)
    assert "my cluster.yaml" in str(error.value)


def test_without_the_option_nothing_starts_and_dask_is_not_imported(tmp_path):
    code = f"""
import sys
from pathlib import Path
from soctk.cluster import option
from soctk.cli import extract, train, sweep, cross, predict
from soctk.training import plan
with option.open_cluster(None, "cpu", Path({str(tmp_path / "out")!r}), []) as opened:
    print(opened, [name for name in sys.modules if name.partition(".")[0] in ("dask", "distributed")])
"""
    process = run_python(code, stdout=-1)
    assert process.communicate()[0] == "(None, 'cpu') []\n"
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "distributed"]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("soctk.cluster.workers", "soctk.cluster.executor", "soctk.cluster.worker"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("soctk.cluster.workers", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(SoctkError, match=r"--cluster local:2: a cluster needs the package distributed.*\n.*\[cluster\]"),
        option.open_cluster("local:2", "cpu", Path(tmp_path), []),
    ):
        pass
