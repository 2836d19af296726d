"""The public functions of the package, each a thin layer over its rooms. Importing this loads no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lnbench.words import python_words, warn

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn
    from torch.utils.data import DataLoader, Dataset

    from lnbench.config import RunConfig
    from lnbench.evaluate.ending import Baseline
    from lnbench.evaluate.evaluation import Outcome
    from lnbench.evaluate.prepare import Given
    from lnbench.evaluate.rounds import Asked
    from lnbench.record import RunComparison, RunRecord

    Pictures = Tensor | np.ndarray[Any, Any] | Sequence[Any]
    Data = tuple[Pictures, Pictures] | Dataset[Any] | DataLoader[Any] | str


def evaluate(
    model: nn.Module | str,
    data: Data,
    *,
    corruptions: str | Sequence[str] | None = None,
    severities: Sequence[float] | None = None,
    modes: str | Sequence[str] | None = None,
    preset: str = "core",
    weights: str | Path | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    class_names: Sequence[str] | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    rounds: bool = False,
    until: float | str | Sequence[float | str] | None = None,
    against: RunRecord | str | Path | None = None,
    margin: float | str | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    resume: bool = True,
    cache: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> RunRecord:
    """Measure a classifier's accuracy under corruptions × severities × normalization modes.

    The same configuration gives the same integers as `lnbench evaluate`. A model that is given as a module is
    its old self afterwards, also after an exception or Ctrl-C: training flags, device, type, gradients, hooks
    and weights; what is inside torch.compile, DataParallel and DistributedDataParallel is what is evaluated.
    Of several processes each that calls this computes all of it, waiting for none: call it in one of them.

    Args:
        model: a network that takes float (B, 3, H, W) and returns one row of class scores for each image; or
            a specification as on the command line ("torchvision:resnet50", "net.py:build").
        data: (images, labels), with images uint8 (N, 3, H, W) or (N, H, W, 3) or a list of PIL images, and
            labels int (N,); a Dataset of (image, label); a DataLoader of (images, labels), read once; or a
            specification ("folder:PATH", "npz:PATH", "cifar10:PATH", "demo"). Images of ToTensor, and those
            normalized by the given `mean` and `std`, are taken back to 8 bits; what cannot be is refused.
            A dataset's transform should change nothing at random.
        corruptions: the name of a suite (`lnbench.presets()`, or a YAML file), or names of corruptions and
            families; the preset's where None.
        severities: 1 to 5 each; the preset's where None.
        modes: normalization modes such as "batch" or "local:layers=first1"; the preset's where None.
        preset: the suite that everything not said otherwise comes from.
        weights: a checkpoint file for a model given as a specification.
        mean, std: input normalization on the 0–1 scale, RGB; the model's own, or ImageNet's, where None.
        class_names: names of the classes, for data that is no specification.
        batch_size: images that `batch` modes take together (200).
        limit: a class-balanced subset of so many images.
        seed: of all that is drawn: noise, order, subset (0).
        rounds: count every condition on a growing part of the images before the next part begins; the same
            integers in the end. What `out` holds of a run that was interrupted, `read` gives.
        until: end as soon as clean and mean of every mode are known to ± so many points (95 %, at whatever
            moment one looks), or the cells of a pattern: 1.0, "fixed/fog/*:2", or several; in rounds. The
            record's `content.rounds` says how many images were counted, of how many, and why it ended.
        against: end as soon as clean and mean of every mode are certain to be worse than in this record, or
            not worse by more than the margin; in rounds. A record that `evaluate` or `read` gave, or a path
            that `read` takes. The answer is the record's `gate`.
        margin: the loss in points that `against` lets pass: 0.5 ("0.5pp") where None.
        device: "auto" (a GPU where there is one; a module on a GPU stays there), "cpu", "cuda", "cuda:1".
        out: a run folder, as the command line writes it; a finished cell is not computed again. None keeps
            the record in memory.
        resume: False starts the run folder over.
        cache: a folder for decoded images, reused by the next run.
        progress: show the plan, the table as it fills and the time left; not on a terminal or in a notebook,
            a line for each condition.
        **options: further keys of a run: resize, crop, interpolation, precision ("fp32", "bf16", "fp16"),
            classes ("present", "all": what to do with outputs that no label stands for), backend, diagnose,
            ema, skip_unreadable, …

    Returns the record; it shows as its table.

    Raises:
        UsageError: an unknown name or wrong option.
        DataError: images or labels that cannot be used, or that do not fit the network.
        ModelError, CheckpointError: a network or weights that cannot be used.
        RecordError: a run folder of another run; a record `against` that this run does not compare with.
        LnbenchError: data whose code ends the program (`sys.exit`).

    Example:
        >>> import lnbench
        >>> options = {"modes": ["fixed", "batch"], "limit": 120, "device": "cpu", "progress": False}
        >>> record = lnbench.evaluate("demo", "demo", corruptions=["contrast"], severities=[5], **options)
        >>> record.content.suite.modes
        ('fixed', 'batch')
        >>> frame = record.cells
        >>> len(frame), sorted(frame["corruption"].unique())
        (4, ['clean', 'contrast'])
        >>> again = lnbench.evaluate(
        ...     "demo", "demo", corruptions=["contrast"], severities=[5], **options, against=record, margin=2
        ... )
        >>> again.gate.passed, again.gate.decided, {answer.outcome for answer in again.gate.answers}
        (True, True, {'within'})
    """
    from lnbench.norm.restore import bare, restored, settings

    with contextlib.ExitStack() as stack:
        stack.enter_context(python_words())
        stack.enter_context(settings())
        suites = presets()
        if isinstance(corruptions, str):
            named = corruptions in suites or corruptions.endswith((".yaml", ".yml"))
            preset, corruptions = (corruptions, None) if named else (preset, [corruptions])
        network = None if isinstance(model, str) else bare(_module(model))
        config, given = _asked(
            network, model, data, preset, class_names,
            {
                "corruptions": corruptions, "severities": severities,
                "modes": [modes] if isinstance(modes, str) else modes,
                "weights": None if weights is None else str(weights), "mean": mean, "std": std,
                "batch_size": batch_size, "limit": limit, "seed": seed, "device": device, **options,
            },
        )  # fmt: skip
        if network is not None:
            stack.enter_context(restored(network))
        from lnbench.evaluate import ending

        wanted = [until] if isinstance(until, str | float | int) else until or ()
        loss = f"{margin:g}pp" if isinstance(margin, int | float) else margin
        asked = ending.asked(rounds, [str(each) for each in wanted], _baseline(against), loss, [config])
        outcome = _evaluated(config, given, out, resume, cache, progress, asked)
        gate = asked.against.judge(outcome.record) if asked is not None and asked.against else None
    from lnbench.record import RunRecord
    from lnbench.results.correct import from_cells

    correct = from_cells(outcome.record.cells, labels=outcome.labels, ids=outcome.ids)
    return RunRecord(outcome.record, correct, outcome.folder, gate)


def compare(
    base: RunRecord | str | Path,
    new: RunRecord | str | Path,
    *,
    fail_if: Sequence[str] = (),
    significance: float | None = None,
    allow_mismatch: bool = False,
) -> RunComparison:
    """Compare two records image by image, as `lnbench compare` does.

    Args:
        base, new: records, or paths that `read` takes.
        fail_if: rules such as "top1:-0.5pp" or "fixed/fog/*: top1:-1pp"; without any, a significant loss of
            clean or mean corruption top-1 fails.
        significance: level of the paired tests (0.05).
        allow_mismatch: compare records of different suites or seeds where they meet.

    Raises UsageError for a rule that is none, RecordError for records that cannot be compared.

    Example:
        >>> import lnbench
        >>> options = {"severities": [5], "modes": "fixed", "limit": 60, "device": "cpu", "progress": False}
        >>> record = lnbench.evaluate("demo", "demo", corruptions=["contrast"], **options)
        >>> found = lnbench.compare(record, record)
        >>> found.passed, set(found.changes["difference"])
        (True, {0.0})
    """
    from lnbench.record import RunComparison, RunRecord
    from lnbench.results.compare import compare as compared
    from lnbench.results.rules import parse

    with python_words():
        rules = [parse(text) for text in fail_if]
        old, now = (one if isinstance(one, RunRecord) else read(one) for one in (base, new))
        return RunComparison(
            compared(
                old.content, now.content, old.correct, now.correct,
                rules=rules, significance=significance, allow_mismatch=allow_mismatch,
            )
        )  # fmt: skip


def read(path: str | Path) -> RunRecord:
    """A record from a run folder, a `results.json` or a baseline file.

    Of a run that is not finished, what there is so far; its table says so. Raises RecordError where it is
    none of these, damaged, or changed since it was written.

    Example:
        >>> import lnbench
        >>> lnbench.read("nowhere")
        Traceback (most recent call last):
        lnbench.errors.RecordError: nowhere does not exist: give a run folder, results.json or a baseline
    """
    from lnbench.record import RunRecord
    from lnbench.results import reading
    from lnbench.results.correct import read_correct

    content = reading.read(path, unfinished=True)
    folder = Path(path) if Path(path).is_dir() else None
    return RunRecord(content, read_correct(path, content), folder)


def _baseline(against: RunRecord | str | Path | None) -> Baseline | None:
    from lnbench.record import RunRecord

    if isinstance(against, RunRecord):
        return against.content, against.correct
    return None if against is None else Path(against)


def _module(model: object) -> nn.Module:
    from torch import nn

    from lnbench.errors import UsageError

    if not isinstance(model, nn.Module):
        raise UsageError(f"model is a {type(model).__name__}: give a torch.nn.Module or a specification")
    return model


def _asked(
    network: nn.Module | None,
    model: nn.Module | str,
    data: Data,
    preset: str,
    class_names: Sequence[str] | None,
    options: dict[str, Any],
) -> tuple[RunConfig, Given]:
    """The run's config, and the objects that stand in for what it would name."""
    from lnbench import config as configs
    from lnbench.errors import UsageError
    from lnbench.evaluate.prepare import Given
    from lnbench.norm.wrap import NormLayer
    from lnbench.types import InputNormalization

    if network is not None:
        if options["weights"] is not None:
            raise UsageError("weights= is for a model given as a specification: load them into the module")
        if any(isinstance(module, NormLayer) for module in network.modules()):
            raise UsageError("the network is in a normalization mode: leave that block, or give the original")
        home = next((tensor.device for tensor in network.parameters()), None)
        if options["device"] == "auto" and home is not None and home.type == "cuda":
            options = {**options, "device": str(home)}
    if class_names is not None and isinstance(data, str):
        raise UsageError("class_names= is for arrays, datasets and loaders; a specification brings its own")
    spec = model if isinstance(model, str) else f"module:{type(network).__name__}"
    chosen = configs.load_preset(preset)
    if isinstance(data, str):
        return configs.resolve(chosen, {"model": spec, "data": data, **options}), Given(network)
    config = configs.resolve(chosen, {"model": spec, "data": "arrays", **options})
    from lnbench.data.objects import hold

    told = InputNormalization(config.mean, config.std) if config.mean and config.std else None
    listing, word = hold(data, names=class_names, normalization=told)
    return config.model_copy(update={"data": word}), Given(network, listing)


def _evaluated(
    config: RunConfig,
    given: Given,
    out: str | Path | None,
    resume: bool,
    cache: str | Path | None,
    progress: bool,
    asked: Asked | None,
) -> Outcome:
    from dataclasses import replace

    from lnbench.dist import ALONE
    from lnbench.evaluate import evaluation, folders
    from lnbench.pictures.sheet import for_report
    from lnbench.progress import Watch

    folder = None if out is None else Path(out)
    with contextlib.ExitStack() as stack:
        scratch = None if folder is None else stack.enter_context(folders.scratch(folder, ALONE))
        observer = replace(stack.enter_context(Watch(progress)).observer(), warning=warn)
        prepared = evaluation.prepare_all(
            [config],
            cache=None if cache is None else Path(cache),
            scratch=scratch,
            observer=observer,
            given=given,
        )
        if folder is None:
            return evaluation.evaluate(prepared, [None], observer=observer, asked=asked)[0]
        return evaluation.evaluate(
            prepared, [folder], fresh=not resume, sheet=for_report, observer=observer, asked=asked
        )[0]


class Entry(NamedTuple):
    """What there is under a name: a line about it, and a line about each of its options or parameters."""

    about: str
    options: dict[str, str]


def corruptions() -> dict[str, Entry]:
    """Every corruption by name, in the benchmark's order: its family, and the range of each parameter.

    Example:
        >>> import lnbench
        >>> lnbench.corruptions()["fog"].about
        'weather'
        >>> len(lnbench.corruptions()) >= 19
        True
    """
    from lnbench.corruptions import registry

    return {
        name: Entry(
            one.family,
            {
                parameter: f"{'whole number' if whole else 'number'} from {low:g} to {high:g}"
                for parameter, (low, high, whole) in one.parameters.items()
            },
        )
        for name, one in ((name, registry.find(name)) for name in registry.names())
    }


def modes() -> dict[str, Entry]:
    """Every normalization mode by name: what it does, and each of its options with its default.

    Every mode takes `layers=` besides: `first3`, `last3`, `localnorm`, or names such as `bn1|layer1.*`.

    Example:
        >>> import lnbench
        >>> lnbench.modes()["adapt"].options["n"]
        'images whose statistics are taken; default 32'
    """
    from lnbench.norm.modes import registry
    from lnbench.norm.modes.options import choices

    found = {}
    for name in registry.names():
        kind = registry.find(name)
        options = {}
        for option, (type_, said, default) in kind.options.items():
            possible = choices(type_)
            words = f" ({', '.join(possible)})" if possible else ""
            options[option] = f"{said.about}{words}; default {default}"
        found[name] = Entry(kind.about, options)
    return found


def presets() -> dict[str, Entry]:
    """Every packaged corruption suite by name: what it is for, and what it holds.

    Example:
        >>> import lnbench
        >>> lnbench.presets()["core"].options["modes"]
        'fixed, batch, adapt:n=32'
    """
    from lnbench import config

    found = {}
    for name in config.preset_names():
        preset = config.load_preset(name)
        holds = {
            part: ", ".join(f"{value:g}" if isinstance(value, float) else value for value in values)
            for part, values in (
                ("corruptions", preset.corruptions),
                ("severities", preset.severities),
                ("modes", preset.modes),
            )
        }
        found[name] = Entry(preset.description, holds)
    return found
