"""Equal but for rounding: on any processor, with any number of threads."""

from typing import Any

import torch


def assert_close(actual: Any, expected: Any) -> None:
    """Arrays, tensors or lists of numbers are as close as the less exact of their dtypes promises over a sum."""
    torch.testing.assert_close(torch.as_tensor(actual), torch.as_tensor(expected), check_dtype=False)
