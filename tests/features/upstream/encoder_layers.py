"""A context manager that records which encoder layers a forward pass computes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_forward_hook


@contextmanager
def computed_layers() -> Iterator[set[nn.Module]]:
    """Yield a set that collects the encoder layers whose forward pass ends within the block.

    The classes of these layers have names such as HubertEncoderLayer in transformers and
    TransformerSentenceEncoderLayer in s3prl.
    """
    computed: set[nn.Module] = set()

    def record(module: nn.Module, _args, _output) -> None:
        if "EncoderLayer" in type(module).__name__:
            computed.add(module)

    hook = register_module_forward_hook(record)
    try:
        yield computed
    finally:
        hook.remove()
