"""`lnbench evaluate`: options in, one config for each checkpoint, the table out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lnbench.data.registry import usages

if TYPE_CHECKING:
    from lnbench.config import Preset, RunConfig
    from lnbench.dist import Processes
    from lnbench.evaluate.evaluation import Outcome, Plan, Prepared

_MODEL = "Network: torchvision:resnet50, timm:NAME, hf-hub:ORG/NAME, cifar:resnet20, FILE.py:FACTORY, demo."
_DATA = f"Images: {usages(corrupted=False)}; corrupted sets: {usages(corrupted=True)}."
_NORM = "Normalization mode, repeatable: fixed, batch, local, blend:N=16, adapt:n=32."
_CORRUPTION = (
    "Corruption or group (noise, blur, weather, digital, extra), repeatable; the preset's own otherwise."
)


def evaluate(
    preset: Annotated[str, typer.Option(help="Corruption suite: a name or a YAML file.")] = "core",
    model: Annotated[str | None, typer.Option(help=_MODEL)] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Checkpoint file or glob, repeatable; the model's own otherwise.")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="YAML list of networks (model, weights, mean, std, ema), counted in one pass."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop when one of several checkpoints cannot be used.")
    ] = False,
    data: Annotated[str | None, typer.Option(help=_DATA)] = None,
    norm: Annotated[list[str] | None, typer.Option(help=_NORM)] = None,
    corruption: Annotated[list[str] | None, typer.Option(help=_CORRUPTION)] = None,
    severity: Annotated[list[float] | None, typer.Option(help="Severity 1–5, repeatable.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images whose statistics are taken together in batch modes.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use a class-balanced subset of N images.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of noise, order and subset.")] = None,
    backend: Annotated[
        str | None, typer.Option(help="native, or reference (the imagecorruptions package).")
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Input mean r,g,b on the 0–1 scale.")] = None,
    std: Annotated[str | None, typer.Option(help="Input standard deviation r,g,b on the 0–1 scale.")] = None,
    resize: Annotated[str | None, typer.Option(help="Shorter side, or HEIGHTxWIDTH, in pixels.")] = None,
    crop: Annotated[str | None, typer.Option(help="Centre crop, side or HEIGHTxWIDTH, in pixels.")] = None,
    interpolation: Annotated[
        str | None, typer.Option(help="nearest, bilinear, bicubic, lanczos or box.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; runs/PRESET-MODEL-HASH otherwise.", show_default=False)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on with what the folder holds, or start over.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and write nothing.")] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for decoded images, reused by the next run.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Keep resident memory below this, such as 4GiB: more images than fit go to a temporary file."
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Compute part I of N by itself; `lnbench merge` joins the parts."),
    ] = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Record how far each norm layer's inputs shift.")
    ] = False,
    ema: Annotated[bool, typer.Option("--ema", help="Use the checkpoint's averaged (EMA) weights.")] = False,
    allow_pickle: Annotated[
        bool,
        typer.Option("--allow-pickle", help="Run code in the checkpoint file. Only for files you trust."),
    ] = False,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, and count them.")
    ] = False,
) -> None:
    """Measure accuracy under corruptions × severities × normalization modes; print and save the tables."""
    from lnbench import config as configs
    from lnbench.cli import console
    from lnbench.cli.values import channels, sides, size

    chosen = configs.load_preset(preset)
    overrides = {
        "data": data or chosen.data,
        "modes": norm or None,
        "corruptions": corruption or None,
        "severities": severity or None,
        "batch_size": batch_size,
        "device": device,
        "precision": precision,
        "limit": limit,
        "seed": seed,
        "backend": backend,
        "mean": channels("--mean", mean),
        "std": channels("--std", std),
        "resize": sides("--resize", resize),
        "crop": sides("--crop", crop),
        "interpolation": interpolation,
        "ema": ema,
        "skip_unreadable": skip_unreadable,
        "shard": shard,
        "diagnose": diagnose,
    }
    runs = [
        configs.resolve(chosen, {**overrides, **entry})
        for entry in _checkpoints(chosen, model, weights, models)
    ]
    bound = size("--memory", memory)
    from lnbench.dist import joined

    with joined() as processes:
        if allow_pickle and processes.first:
            console.warn("--allow-pickle runs whatever code the checkpoint file contains")
        job = _Job(runs, out, cache, bound, allow_pickle, strict, not resume, dry_run)
        _run(job, processes)


@dataclass(frozen=True)
class _Job:
    """What was asked for, besides the configs' own content."""

    runs: list[RunConfig]
    out: Path | None
    cache: Path | None
    memory: int | None
    allow_pickle: bool
    strict: bool
    fresh: bool
    dry_run: bool


def _run(job: _Job, processes: Processes) -> None:
    import shutil

    from lnbench.cli import console
    from lnbench.cli.values import command
    from lnbench.errors import LnbenchError
    from lnbench.evaluate import evaluation
    from lnbench.memory import keep_freed

    keep_freed()
    base = job.out or Path("runs") / "images"
    scratch = base.parent / f".{base.name}.images"
    outcomes = None
    try:
        with console.Watch(shown=processes.first) as watch:
            prepared = evaluation.prepare_all(
                job.runs, cache=job.cache, scratch=scratch, memory=job.memory,
                allow_pickle=job.allow_pickle, strict=job.strict, observer=watch.observer(),
                processes=processes,
            )  # fmt: skip
            folders = _folders(prepared, job.out)
            if not job.dry_run:
                outcomes = evaluation.evaluate(
                    prepared, folders, fresh=job.fresh, command=command(), observer=watch.observer(),
                    processes=processes,
                )  # fmt: skip
    finally:
        if processes.local_rank == 0:
            shutil.rmtree(scratch, ignore_errors=True)
    if processes.first:
        if outcomes is None:
            _show_plan(evaluation.plan(prepared), folders)
        else:
            _show(outcomes)
        if prepared.failed:
            raise LnbenchError(
                f"{len(prepared.failed)} of {len(job.runs)} checkpoints could not be used and were left out"
            )


def _checkpoints(
    preset: Preset, model: str | None, weights: list[str] | None, models: Path | None
) -> list[dict[str, Any]]:
    """What is particular to every run asked for; globs in sorted order."""
    import glob

    from lnbench.config import load_models
    from lnbench.errors import UsageError

    if models is not None:
        if model or weights:
            raise UsageError("--models names networks and weights; drop --model and --weights")
        return [entry.model_dump(exclude_none=True) for entry in load_models(models)]
    specs = [model] if model else list(preset.models)
    if not specs:
        raise UsageError(f"preset {preset.name} names no model; give --model")
    if not weights:
        return [{"model": spec} for spec in specs]
    if len(specs) > 1:
        raise UsageError("--weights needs one --model to load them into")
    files = []
    for pattern in weights:
        literal = Path(pattern).exists() or not glob.has_magic(pattern)
        found = [pattern] if literal else sorted(glob.glob(pattern))  # noqa: PTH207 – may be absolute
        if not found:
            raise UsageError(f"--weights {pattern}: no file matches")
        files += found
    return [{"model": specs[0], "weights": file} for file in dict.fromkeys(files)]


def _folders(prepared: Prepared, out: Path | None) -> list[Path]:
    """Where each subject's record goes: OUT itself for one, a folder in it for each of several."""
    from lnbench.cli.values import slug

    subjects = prepared.subjects
    if len(subjects) == 1:
        return [out or Path("runs") / _run_name(subjects[0].config)]
    root = out or Path("runs")
    names = [_run_name(s.config) if out is None else slug(s.name) for s in subjects]
    doubled = {name for name in names if names.count(name) > 1}
    return [root / (f"{name}-{i}" if name in doubled else name) for i, name in enumerate(names, 1)]


def _run_name(config: RunConfig) -> str:
    """Predictable and distinct: the same options lead to the same folder, others to another."""
    import hashlib

    from lnbench.cli.values import slug

    stem = slug(Path(config.weights).stem if config.weights else config.model)
    digest = hashlib.sha256(config.model_dump_json(exclude={"device"}).encode()).hexdigest()
    return f"{slug(config.preset)}-{stem}-{digest[:8]}"


def _show_plan(plan: Plan, folders: list[Path]) -> None:
    from lnbench.cli.console import stdout

    console = stdout()
    for name, folder in zip(plan.subjects, folders, strict=True):
        console.print(f"{name} → {folder}", markup=False)
    console.print(
        f"{plan.conditions} conditions, {plan.cells} cells, {plan.images:,} images, "
        f"{plan.forwards:,} forward passes; images take {plan.store_bytes / 2**20:,.0f} MiB",
        markup=False,
    )


def _show(outcomes: list[Outcome]) -> None:
    from lnbench.cli.console import note, stdout
    from lnbench.results.ranking import label
    from lnbench.results.render import terminal

    console = stdout()
    records = [outcome.record for outcome in outcomes]
    labels = label(records) if len(records) > 1 else ()
    terminal.show(records, console, labels)
    if labels:
        terminal.show_ranking(records, console, labels)
    for outcome in outcomes:
        note(f"saved in {outcome.folder}")
