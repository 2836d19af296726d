from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield
