"""Keep torch.compile out of code that it cannot trace, without importing the compiler until someone uses it."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def uncompiled(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return the method wrapped as by torch.compiler.disable: compiled code calls it, but does not compile it.

    torch.compiler.disable itself imports torch._dynamo, which takes seconds, so this wrapper calls it only if
    torch._dynamo has been imported already.
    """
    disabled: list[Callable] = []

    @functools.wraps(method)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if "torch._dynamo" not in sys.modules:
            return method(*args, **kwargs)
        if not disabled:
            disabled.append(torch.compiler.disable(method))
        return disabled[0](*args, **kwargs)

    return run
