"""torch.compile, where the machine has what it needs."""

from __future__ import annotations

import torch

from classifier.errors import InputError


def compiled(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """`network`, whose forward and backward pass are compiled when they first run. It shares its weights.

    Raises:
        InputError: compiling does not work here: it needs a C++ compiler, and on a GPU triton and a C compiler.
    """
    # What is compiled is found again by its code alone: of other parameters that learn it would be the old one.
    torch.compiler.reset()
    try:
        # In seconds, and before hours: what is missing shows in the smallest of functions.
        torch.compile(torch.nn.ReLU())(torch.zeros(8, device=device))
    except Exception as error:  # of dynamo, inductor, triton or the compiler itself
        reason = " ".join(str(error).split("\n\n")[0].split())[:200]
        raise InputError(f"compile=true does not work on this machine ({reason}): take an image with a C++ compiler, "
                         f"and for a GPU triton as well, or leave compile out") from None  # fmt: skip
    return torch.compile(network)  # type: ignore[return-value]
