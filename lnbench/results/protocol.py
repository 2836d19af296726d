"""How the images of a run came: order, sequence of conditions and batch, where answers depend on them."""

from __future__ import annotations

from lnbench.results.schema import Record, Run

USUAL = {"order": "shuffled", "sequence": "reset", "mixed": False}


def protocol(record: Run | Record) -> dict[str, object]:
    """What was chosen of `order`, `sequence` and `mixed`; a record that names none was run as usual."""
    return {name: record.config.get(name, usual) for name, usual in USUAL.items()}


def unusual(run: Run | Record) -> list[str]:
    """A word for each choice that is not usual, and the size of the batches beside them."""
    chosen = protocol(run)
    words = [f"order {chosen['order']}"] if chosen["order"] != USUAL["order"] else []
    words += [str(chosen["sequence"])] if chosen["sequence"] != USUAL["sequence"] else []
    words += ["mixed"] if chosen["mixed"] else []
    return [*words, f"batches of {run.config.get('batch_size')}"] if words else []


def dependence(record: Record) -> list[str]:
    """What a test over the images of a stream leaves out, in a sentence; none where no mode adapts."""
    modes = dict.fromkeys(
        cell.mode for cell in record.cells if cell.course is not None and cell.course.unit == "stream"
    )
    if not modes:
        return []
    text = (
        f"p and interval of {', '.join(modes)} hold for this one stream: its images are not independent, a "
        "bad step spoils the rest; see how far other seeds differ before trusting a small difference"
    )
    return [text]


def describe(record: Record) -> str:
    """The protocol in a few words, empty where no cell depends on it."""
    courses = [cell.course for cell in record.cells if cell.course is not None]
    sizes = {cell.batch_size for cell in record.cells if cell.batch_size is not None}
    if not courses:
        return ""
    chosen = protocol(record)
    parts = [f"batches of {', '.join(map(str, sorted(sizes)))}", f"order {chosen['order']}"]
    if chosen["mixed"]:
        parts.append("corrupted conditions mixed in one stream")
    elif any(course.unit == "stream" for course in courses):
        continual = chosen["sequence"] == "continual"
        parts.append("continual over the corrupted conditions" if continual else "reset at each condition")
    return "; ".join(parts)
