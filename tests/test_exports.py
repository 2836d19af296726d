"""The public names: sorted, present, and loaded only when used."""

from __future__ import annotations

import subprocess
import sys

import lnbench


def test_every_public_name_exists_and_the_list_is_sorted() -> None:
    assert lnbench.__all__ == sorted(lnbench.__all__)
    for name in lnbench.__all__:
        assert getattr(lnbench, name) is not None


def test_importing_lnbench_or_its_command_line_loads_no_torch() -> None:
    names = "('torch', 'numpy', 'pydantic', 'rich.table')"
    code = f"import sys, lnbench, lnbench.cli; print([m for m in {names} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
