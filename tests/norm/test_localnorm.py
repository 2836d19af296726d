from __future__ import annotations

import copy
import itertools
import math
import pickle
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lnbench.norm.localnorm import LocalNorm2d

SHAPES = {"1d": (8, 5, 7), "2d": (8, 5, 6, 4), "3d": (8, 5, 2, 3, 4), "features": (8, 5)}
FORMATS = [torch.contiguous_format, torch.channels_last]


def sample(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 + 1


def layer(
    groups: int, channels: int = 5, dtype: torch.dtype = torch.float32, **options: float
) -> LocalNorm2d:
    made = LocalNorm2d(channels, groups, dtype=dtype, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        made.weight.copy_(sample((groups, channels), 1))
        made.bias.copy_(sample((groups, channels), 2))
    return made


def naive(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """The definition, one image and channel at a time, left to autograd."""
    groups, channels = weight.shape
    rows = []
    for i in range(x.shape[0]):
        k = i % groups
        columns = []
        for c in range(channels):
            values = torch.stack([x[j, c] for j in range(k, x.shape[0], groups)])
            mean = values.sum() / values.numel()
            var = (values - mean).pow(2).sum() / values.numel()
            columns.append(weight[k, c] * (x[i, c] - mean) / torch.sqrt(var + eps) + bias[k, c])
        rows.append(torch.stack(columns))
    return torch.stack(rows)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_one_group_is_batchnorm_in_training(shape: tuple[int, ...]) -> None:
    ours, theirs = layer(1), nn.BatchNorm1d(5) if len(shape) < 4 else nn.BatchNorm2d(5)
    theirs._check_input_dim = lambda x: None  # type: ignore[method-assign]
    with torch.no_grad():
        theirs.weight.copy_(ours.weight[0])
        theirs.bias.copy_(ours.bias[0])
    for seed in range(3):
        x = sample(shape, seed)
        assert torch.equal(ours(x), theirs(x))
    # Same sums in another order: the stored statistics agree to rounding.
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    assert ours.num_batches_tracked == theirs.num_batches_tracked == 3


@pytest.mark.parametrize("memory_format", FORMATS)
def test_as_many_groups_as_images_is_instance_norm(memory_format: torch.memory_format) -> None:
    x = sample((8, 5, 6, 4)).contiguous(memory_format=memory_format)
    ours = layer(8)
    expected = F.instance_norm(x) * ours.weight[:, :, None, None] + ours.bias[:, :, None, None]
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_groups_are_ghost_batches(groups: int, memory_format: torch.memory_format) -> None:
    x = sample((16, 5, 6, 4)).contiguous(memory_format=memory_format)
    ours = layer(groups)
    y = ours(x)
    assert y.stride() == x.stride()
    for k in range(groups):
        ghost = F.batch_norm(x[k::groups], None, None, ours.weight[k], ours.bias[k], True)
        torch.testing.assert_close(y[k::groups], ghost, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_permuting_groups_permutes_outputs(memory_format: torch.memory_format) -> None:
    x = sample((8, 5, 6, 4)).contiguous(memory_format=memory_format)
    ours = layer(4)
    y = ours(x)
    permuted = copy.deepcopy(ours)
    order = torch.tensor([2, 0, 3, 1])
    images = torch.cat([order, order + 4])  # image i stays with its group's statistics, weight and bias
    with torch.no_grad():
        permuted.weight.copy_(ours.weight[order])
        permuted.bias.copy_(ours.bias[order])
    moved = x[images].contiguous(memory_format=memory_format)
    torch.testing.assert_close(permuted(moved), y[images], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradients_equal_those_of_the_definition(groups: int, memory_format: torch.memory_format) -> None:
    x = sample((4, 3, 3, 2), dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    ours = layer(groups, 3, torch.float64)
    # With one image of one group the layer is the same at every pixel count; weigh pixels differently.
    pull = sample((4, 3, 3, 2), 5, torch.float64)
    (ours(x) * pull).sum().backward()
    mine = [value.grad for value in (x, ours.weight, ours.bias)]
    x.grad, ours.weight.grad, ours.bias.grad = None, None, None
    (naive(x, ours.weight, ours.bias, ours.eps) * pull).sum().backward()
    for got, value in zip(mine, (x, ours.weight, ours.bias), strict=True):
        torch.testing.assert_close(got, value.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradcheck(training: bool, memory_format: torch.memory_format) -> None:
    x = sample((4, 2, 2, 2), dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    ours = layer(2, 2, torch.float64).train(training)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(ours, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x, ours.weight, ours.bias))


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    x = sample((4, 2, 3, 2)).contiguous(memory_format=torch.channels_last).requires_grad_()
    (grad,) = torch.autograd.grad(layer(2, 2)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("groups", [2, 4, 8])
def test_training_stores_what_batchnorm_stores(
    groups: int, memory_format: torch.memory_format, momentum: float | None
) -> None:
    ours, theirs = LocalNorm2d(5, groups, momentum=momentum), nn.BatchNorm2d(5, momentum=momentum)
    for seed in range(4):
        x = sample((8, 5, 6, 4), seed).contiguous(memory_format=memory_format)
        ours(x)
        theirs(x)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-5, atol=1e-6)


def test_evaluation_normalizes_each_image_by_itself() -> None:
    x, ours = sample((6, 5, 6, 4)), layer(4).eval()
    before = copy.deepcopy(ours.state_dict())
    y = ours(x)
    for group, expected in (
        (None, (ours.weight.mean(0), ours.bias.mean(0))),
        (2, (ours.weight[2], ours.bias[2])),
    ):
        ours.group = group
        torch.testing.assert_close(ours(x), F.instance_norm(x, weight=expected[0], bias=expected[1]))
    ours.group = None
    # Any batch size, and no image knows its neighbours.
    torch.testing.assert_close(torch.cat([ours(x[:1]), ours(x[1:])]), y, rtol=1e-6, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize(("images", "groups"), [(7, 4), (2, 4), (0, 4)])
def test_a_batch_that_cannot_be_cut_is_refused_with_the_remedy(images: int, groups: int) -> None:
    ours = layer(groups)
    with pytest.raises(
        ValueError, match=rf"{images} images into {groups} equal groups.*drop_last=True"
    ) as caught:
        ours(sample((images, 5, 4, 4)))
    assert "\n" not in str(caught.value)
    assert ours.num_batches_tracked == 0  # nothing half-done


@pytest.mark.parametrize("shape", [(4, 6, 2, 2), (5,), (3,)])
def test_wrong_inputs_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expects \(B, 5"):
        layer(1)(torch.zeros(shape))


@pytest.mark.parametrize("numbers", [(0, 1), (4, 0), (4, -2)])
def test_wrong_sizes_are_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="groups >= 1"):
        LocalNorm2d(*numbers)


@pytest.mark.parametrize("shape", [(4, 5, 1, 1), (4, 5)])
@pytest.mark.parametrize("training", [True, False])
def test_one_value_gives_the_bias_and_a_warning(training: bool, shape: tuple[int, ...]) -> None:
    x, ours = sample(shape).requires_grad_(), layer(4).train(training)
    with pytest.warns(UserWarning, match="single value per channel"):
        y = ours(x)
    expected = ours.bias if training else ours.bias.mean(0).expand(4, -1)
    torch.testing.assert_close(y.flatten(1), expected, rtol=1e-6, atol=1e-6)
    y.sum().backward()
    # Every tensor takes part in the graph; input and weight have no influence.
    assert x.grad is not None and not x.grad.any()
    assert ours.weight.grad is not None and not ours.weight.grad.any()
    assert ours.bias.grad is not None and ours.bias.grad.any()


def test_one_value_is_warned_about_once() -> None:
    ours = nn.Sequential(layer(4), layer(4))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            ours(sample((4, 5, 1, 1)))
    assert len(caught) == 1


def test_one_value_stores_the_whole_batch() -> None:
    x, ours = sample((4, 5, 1, 1)), LocalNorm2d(5, 4, momentum=1.0)
    with pytest.warns(UserWarning, match="single value"):
        ours(x)
    torch.testing.assert_close(ours.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(ours.running_var, x.var((0, 2, 3)))


def test_repr_rebuilds_the_layer() -> None:
    ours = LocalNorm2d(64, 8, eps=1e-3, momentum=None)
    again = eval(repr(ours), {"LocalNorm2d": LocalNorm2d})
    assert repr(again) == repr(ours) == "LocalNorm2d(64, groups=8, eps=0.001, momentum=None)"
    assert again.weight.shape == (8, 64) and (again.eps, again.momentum) == (1e-3, None)


def test_state_dict_deepcopy_and_pickle_round_trip() -> None:
    ours, x = layer(4), sample((8, 5, 6, 4))
    ours(x)
    assert {name: tuple(value.shape) for name, value in ours.state_dict().items()} == {
        "weight": (4, 5),
        "bias": (4, 5),
        "running_mean": (5,),
        "running_var": (5,),
        "num_batches_tracked": (),
    }
    loaded = LocalNorm2d(5, 4)
    loaded.load_state_dict(ours.state_dict())
    for other in (loaded, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert torch.equal(other(x), copy.deepcopy(ours)(x))
        assert torch.equal(other.eval()(x), copy.deepcopy(ours).eval()(x))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("training", [True, False])
def test_autocast_normalizes_16_bit_maps_in_float32(
    training: bool, memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    conv, ours = nn.Conv2d(3, 5, 3), layer(4).train(training)
    x = sample((8, 3, 8, 8)).contiguous(memory_format=memory_format)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = conv(x)
        y = ours(maps)
    assert maps.dtype == y.dtype == torch.bfloat16
    exact = copy.deepcopy(ours)(maps.float())
    # One rounding to bfloat16 at the end: relative 2^-8.
    torch.testing.assert_close(y.float(), exact, rtol=2**-8, atol=2**-8)
    y.float().square().sum().backward()
    assert ours.weight.grad is not None and ours.weight.grad.dtype == torch.float32
    assert conv.weight.grad is not None and conv.weight.grad.isfinite().all()


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_layers_of_other_precisions_work(dtype: torch.dtype, momentum: float | None) -> None:
    ours = layer(4).to(dtype)
    ours.momentum = momentum
    for training in (True, False):
        y = ours.train(training)(sample((8, 5, 6, 4)).to(dtype))
        assert y.dtype == dtype and y.isfinite().all()
    assert ours.running_mean.dtype == dtype and ours.running_mean.any()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_compile_gives_one_graph_and_the_same_numbers(
    training: bool, memory_format: torch.memory_format
) -> None:
    eager = layer(4).train(training)
    traced = copy.deepcopy(eager)
    # aot_eager traces forward and backward whole, without a C++ compiler.
    compiled = torch.compile(traced, backend="aot_eager", fullgraph=True)
    x = sample((8, 5, 6, 4)).contiguous(memory_format=memory_format)
    for _ in range(2):
        torch.testing.assert_close(compiled(x), eager(x))
        compiled(x).square().sum().backward()
        eager(x).square().sum().backward()
    torch.testing.assert_close(traced.weight.grad, eager.weight.grad)
    torch.testing.assert_close(traced.running_var, eager.running_var)


def test_meta_device_and_dtype_arguments() -> None:
    ours = LocalNorm2d(5, 4, device="meta", dtype=torch.float64)
    assert {value.device.type for value in ours.state_dict().values()} == {"meta"}
    assert ours(torch.empty(8, 5, 2, 2, device="meta", dtype=torch.float64)).shape == (8, 5, 2, 2)


@pytest.mark.parametrize("training", [True, False])
def test_other_devices_keep_the_memory_format_too(training: bool) -> None:
    # Shapes and strides alone, on the path that an accelerator takes.
    ours = LocalNorm2d(5, 4, device="meta").train(training)
    x = torch.empty(8, 5, 6, 4, device="meta").contiguous(memory_format=torch.channels_last)
    assert ours(x).stride() == x.stride()


DISTRIBUTED = """
    import os, sys, torch
    import torch.distributed as dist
    from torch import nn
    from lnbench.norm.localnorm import LocalNorm2d

    rank, store = int(sys.argv[1]), dist.FileStore(sys.argv[2], 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), LocalNorm2d(4, 2), nn.Flatten(), nn.Linear(4 * 16, 2))
    net = nn.parallel.DistributedDataParallel(net)
    x = torch.randn(2, 8, 3, 6, 6, generator=torch.Generator().manual_seed(3))[rank]
    for _ in range(2):
        net(x).square().mean().backward()
    grads = torch.cat([value.grad.flatten() for value in net.parameters()])
    both = [torch.empty_like(grads) for _ in range(2)]
    dist.all_gather(both, grads)
    assert torch.equal(*both) and grads.abs().sum() > 0
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads may outlive the interpreter, which then aborts
"""


def test_distributed_data_parallel(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(DISTRIBUTED)]
    root = Path(__file__).parents[2]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "store")], cwd=root, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    errors = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "".join(errors)


def test_it_trains() -> None:
    # Two classes that differ in texture alone: group statistics leave that in.
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), LocalNorm2d(4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    x, targets = torch.randn(16, 1, 8, 8), torch.arange(16) // 4 % 2
    x = torch.where(targets.view(-1, 1, 1, 1) == 1, x.abs(), x)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), targets)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(math.isfinite(loss) for loss in losses) and losses[-1] < 0.5 * losses[0]


def test_every_pair_of_memory_formats_agrees() -> None:
    x = sample((8, 5, 6, 4))
    views = [x, x.contiguous(memory_format=torch.channels_last), torch.stack([x, x], 1)[:, 0]]
    results = [layer(4)(view) for view in views]
    for one, other in itertools.combinations(results, 2):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
