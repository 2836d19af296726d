"""The measures and steps that the modes which learn share."""

from __future__ import annotations

import math

import pytest
import torch

from lnbench.norm.gradient import entropy, opinion
from tests.norm.networks import build
from tests.norm.streams import along, drifting


def logits() -> torch.Tensor:
    return 3 * torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_entropy_is_that_of_the_softmax() -> None:
    x = logits()
    wanted = torch.distributions.Categorical(logits=x).entropy()
    torch.testing.assert_close(entropy(x), wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(entropy(torch.zeros(2, 7)), torch.full((2,), math.log(7)))
    assert torch.equal(entropy(torch.tensor([[1000.0, 0.0, 0.0]])), torch.zeros(1))


def test_comes_opinion_is_the_entropy_of_beliefs_and_of_what_is_not_known() -> None:
    x, classes = logits(), 5
    total = x.exp().sum(1) + classes
    shares = torch.cat([x.exp() / total[:, None], (classes / total)[:, None]], 1)
    wanted = -(shares * shares.log()).sum(1)
    torch.testing.assert_close(opinion(x), wanted, rtol=1e-12, atol=1e-12)


def test_comes_gradient_turns_the_logits_and_does_not_lengthen_them() -> None:
    x = logits().requires_grad_()
    (gradient,) = torch.autograd.grad(opinion(x).sum(), x)
    torch.testing.assert_close((gradient * x).sum(1), torch.zeros(6, dtype=torch.float64))
    assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize("mode", ["tent:lr=0.05", "eta:margin=2,d=2,lr=0.05", "sar:margin=2,lr=0.05"])
def test_the_loss_can_be_chosen(mode: str) -> None:
    stream = drifting(count=3)
    usual, come = (along(build("plain"), f"{mode}{loss}", stream) for loss in ("", ",loss=come"))
    assert torch.equal(usual.logits[0], come.logits[0])
    assert not torch.allclose(usual.logits[-1], come.logits[-1], atol=1e-4)
