"""Is there a connection? Asked once, shortly, before a library that would try again for most of a minute."""

from __future__ import annotations

import contextlib
import socket
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

PROBE_SECONDS = 5.0


def reachable(url: str) -> bool:
    """Whether a connection to the URL's host opens; true where a proxy would have to answer instead."""
    if urllib.request.getproxies():
        return True
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def hub_unless_unreachable(needed: bool) -> Iterator[tuple[str, str]]:
    """Where Hugging Face's hub cannot be reached, let only its cache answer meanwhile.

    Yields the cache's folder and the name of the unreachable host, or "".

    This holds for `huggingface_hub` and, where it is imported, for `datasets`, which has a switch of its own.
    """
    from huggingface_hub import constants

    switches: list[Any] = [constants]
    if "datasets" in sys.modules:
        switches.append(sys.modules["datasets"].config)
    before = [switch.HF_HUB_OFFLINE for switch in switches]
    offline = any(before) or (needed and not reachable(constants.ENDPOINT))
    try:
        for switch in switches:
            switch.HF_HUB_OFFLINE = offline
        yield str(constants.HF_HUB_CACHE), str(urlsplit(constants.ENDPOINT).hostname) if offline else ""
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.HF_HUB_OFFLINE = value
