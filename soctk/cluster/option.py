"""The option --cluster: where jobs run. Dask is imported only if the option is given."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from soctk import config
from soctk.device import resolve
from soctk.errors import SoctkError, missing_package
from soctk.schema import ClusterConfig

if TYPE_CHECKING:
    from soctk.cluster.executor import DaskExecutor

_ADDRESS = re.compile(r"(tcp|tls|ucx)://\S+")
_LOCAL = re.compile(r"local:([1-9]\d*)")


def parse(option: str) -> ClusterConfig | str:
    """Return the settings of `local:N`, or of a cluster file; the address of a running scheduler is returned as it is.

    Raises:
        SoctkError: it is none of these, or the file has an unknown key or a wrong value.
    """
    if _ADDRESS.fullmatch(option):
        return option
    if match := _LOCAL.fullmatch(option):
        return ClusterConfig(kind="local", workers=int(match[1]))
    if not Path(option).is_file():
        raise SoctkError(
            "no such file",
            remedy="Give a cluster file such as conf/cluster/slurm.yaml, local:N for N workers on this machine, or the "
            "address of a running Dask scheduler, such as tcp://HOST:8786.",
            where=f"--cluster {option}",
        )
    return config.load_cluster(Path(option))


@contextmanager
def open_cluster(
    option: str | None, device: str, output: Path, inputs: Sequence[Path], is_needed: bool = True
) -> Iterator[tuple["DaskExecutor | None", str]]:
    """Start the workers of --cluster, and stop them after the block.

    Yields:
        The executor, or None without the option; and the device of the workers, or without the option of this machine.

    Args:
        option: the value of --cluster.
        device: the value of --device.
        output: the directory in which the workers write; it is created. Their logs are in `output`/log.
        inputs: what the workers read; a path that does not exist here is left out.

        is_needed: whether there is work to do; without work, no workers are started.

    Raises:
        SoctkError: the option is wrong, Dask is not installed, the workers cannot be started, or a worker does not see
            the files or has other versions than this process.
    """
    if option is None:
        yield None, resolve(device)
        return
    settings = parse(option)
    if not is_needed:
        yield None, "cpu"
        return
    try:
        from soctk.cluster import workers
    except ImportError as error:
        raise missing_package(error.name or "dask", "cluster", "a cluster", where=f"--cluster {option}") from error
    with workers.started(settings, device, output, [path for path in inputs if path.exists()]) as opened:
        yield opened
