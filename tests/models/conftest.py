from __future__ import annotations

import pytest
from torch import nn

from tests.models.networks import network, ramp


@pytest.fixture
def source() -> nn.Module:
    return ramp(network())
