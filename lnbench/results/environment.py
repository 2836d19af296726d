"""Where a run was computed: interpreter, platform, installed versions."""

from __future__ import annotations

from importlib import metadata
from platform import platform, python_version

from pydantic import BaseModel, ConfigDict

from lnbench import __version__

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "pillow", "imagecorruptions")


class Environment(BaseModel):
    """Where the run was computed; never part of a run's identity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    lnbench: str
    python: str
    platform: str
    packages: dict[str, str]
    device: str
    threads: int
    processes: int = 1


def environment(*, device: str, threads: int, processes: int = 1) -> Environment:
    """Describe this machine: interpreter, platform and installed versions, without importing any of them."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return Environment(
        lnbench=__version__,
        python=python_version(),
        platform=platform(),
        packages=packages,
        device=device,
        threads=threads,
        processes=processes,
    )
