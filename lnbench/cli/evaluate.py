"""`lnbench evaluate`: options in, one config for each checkpoint, the table out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lnbench.cli import complete, options
from lnbench.data.registry import usages
from lnbench.norm.modes import registry as modes

_WEIGHTS = "Checkpoint file or glob, repeatable; the model's own otherwise."
_MODELS = "YAML list of networks (model, weights, mean, std, ema), counted in one pass."
_STRICT = "Stop when one of several checkpoints cannot be used."
_DATA = f"Images: {usages(corrupted=False)}; corrupted sets: {usages(corrupted=True)}."
_SHIFT = "Another test set of the same classes, repeatable: a condition, with the clean accuracy beside it."
_NORM = (
    f"Normalization mode, repeatable or with commas: {', '.join(modes.usages())}; or the file of `choose`."
)


def evaluate(
    context: typer.Context,
    model: options.Model[str | None] = None,
    weights: Annotated[list[str] | None, options.NETWORK(metavar="FILE", help=_WEIGHTS)] = None,
    models: Annotated[Path | None, options.NETWORK(metavar="FILE", help=_MODELS)] = None,
    strict: Annotated[bool, options.NETWORK("--strict", help=_STRICT)] = False,
    ema: options.Ema = False,
    prefix: options.Prefix = None,
    allow_pickle: options.AllowPickle = False,
    data: Annotated[
        str | None, options.IMAGES(metavar="SPEC", help=_DATA, autocompletion=complete.data)
    ] = None,
    root: options.Root = None,
    shift: Annotated[list[str] | None, options.IMAGES(metavar="NAME=DATA", help=_SHIFT)] = None,
    limit: options.Limit = None,
    skip_unreadable: options.SkipUnreadable = False,
    cache: options.Cache = None,
    classes: options.Classes = None,
    class_map: options.ClassMap = None,
    classes_file: options.ClassesFile = None,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    interpolation: options.Interpolation[str | None] = None,
    exif: options.Exif = None,
    preset: options.Preset = "core",
    corruption: options.Corruption = None,
    severity: options.Severity = None,
    backend: options.Backend[str | None] = None,
    norm: Annotated[
        list[str] | None, options.MODES(metavar="MODE", help=_NORM, autocompletion=complete.modes)
    ] = None,
    batch_size: options.BatchSize[int | None] = None,
    order: options.Order = None,
    sequence: options.Sequence = None,
    mixed: options.Mixed = False,
    seed: options.Seed[int | None] = None,
    seeds: options.Seeds = None,
    device: options.Device = "auto",
    precision: Annotated[
        str | None, options.MACHINE(metavar="fp32|bf16|fp16", help="fp32, bf16 or fp16.")
    ] = None,
    memory: options.Memory = None,
    store: options.Store = "auto",
    compile: options.Compile = "auto",
    rounds: options.Rounds = False,
    until: options.Until = None,
    against: options.Against = None,
    margin: options.Margin = None,
    out: options.Out = None,
    resume: options.Resume = True,
    dry_run: Annotated[bool, options.FOLDER("--dry-run", help="Show the plan and write nothing.")] = False,
    shard: options.Shard = None,
    diagnose: options.Diagnose = False,
    plugin: options.Plugin = None,
) -> None:
    """Measure accuracy under corruptions × severities × normalization modes; print and save the tables."""
    from lnbench import config as configs
    from lnbench.cli import console, plugins, values
    from lnbench.cli import rounds as parts
    from lnbench.errors import LnbenchError, UsageError
    from lnbench.evaluate import checkpoints

    if context.args:
        raise UsageError(f"unexpected '{context.args[0]}'; repeat an option: --norm fixed --norm batch")
    own_code = plugins.run(plugin)
    asked, choice = values.chosen(values.modes(norm or [], modes.names()))
    chosen = configs.load_preset(preset)
    overrides = {
        "data": data or chosen.data,
        "root": root,
        "shifts": values.named("--shift", shift or []) or None,
        "modes": asked or None,
        "chosen": choice,
        "corruptions": corruption or None,
        "severities": severity or None,
        "batch_size": batch_size,
        "order": order,
        "sequence": sequence,
        "mixed": mixed or None,
        "device": device,
        "precision": precision,
        "limit": limit,
        "seed": seed,
        "backend": backend,
        "mean": values.channels("--mean", mean),
        "std": values.channels("--std", std),
        "resize": values.sides("--resize", resize),
        "crop": values.sides("--crop", crop),
        "interpolation": interpolation,
        "exif": exif,
        "classes": classes,
        "class_map": None if class_map is None else str(class_map),
        "classes_file": None if classes_file is None else str(classes_file),
        "ema": ema,
        "prefix": prefix,
        "skip_unreadable": skip_unreadable,
        "shard": shard,
        "diagnose": diagnose,
        "plugins": own_code,
    }
    entries = checkpoints.expand(chosen, model, weights or [], models)
    if seeds is not None and (out is None or len(entries) > 1):
        raise UsageError("--seeds needs --out and one checkpoint")
    planned = [
        ([configs.resolve(chosen, {**overrides, **own, **entry}) for entry in entries], place)
        for own, place in checkpoints.of_seeds(seed or 0, seeds, out)
    ]
    bound = values.size("--memory", memory)

    from lnbench.dist import joined
    from lnbench.evaluate import compiling, ending, evaluation, folders, supply
    from lnbench.evaluate.foretell import foretell
    from lnbench.memory import keep_freed
    from lnbench.pictures.sheet import for_report
    from lnbench.progress import Watch

    asked_of_rounds = ending.asked(
        rounds, until or [], against, margin, [run for runs, _ in planned for run in runs]
    )
    keep_freed()
    with joined() as processes:
        if allow_pickle and processes.first:
            console.warn("--allow-pickle runs whatever code the checkpoint file contains")
        for runs, place in planned:
            with (
                parts.shown_if_interrupted(),
                folders.scratch(place, processes) as scratch,
                Watch(shown=processes.first) as watch,
            ):
                prepared = evaluation.prepare_all(
                    runs, cache=cache, scratch=scratch, memory=bound, store=supply.parse(store),
                    allow_pickle=allow_pickle, strict=strict, observer=watch.observer(), processes=processes,
                )  # fmt: skip
                places = folders.run_folders(prepared.subjects, place)
                outcomes = None if dry_run else evaluation.evaluate(
                    prepared, places, fresh=not resume, command=values.command(), sheet=for_report,
                    compile=compiling.parse(compile),
                    observer=watch.observer(), processes=processes, asked=asked_of_rounds,
                )  # fmt: skip
            if processes.first:
                if outcomes is None:
                    console.show_plan(
                        foretell(
                            prepared, places, fresh=not resume, processes=processes.world,
                            asked=asked_of_rounds,
                        ),
                        places,
                    )  # fmt: skip
                else:
                    console.show(outcomes)
                    parts.decide(asked_of_rounds, outcomes)
                if failed := len(prepared.failed):
                    raise LnbenchError(
                        f"{failed} of {len(runs)} checkpoints could not be used and were left out"
                    )
