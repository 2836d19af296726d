"""Which packages there are; everything else about the build stands in pyproject.toml.

Every folder under lnbench/ is found, and presets/, which lies at the top level where people look for it,
installs inside the package: the two cannot both be said in pyproject.toml.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["lnbench", "lnbench.*"]), "lnbench.presets"],
    package_dir={"lnbench.presets": "presets"},
)
