"""How fast are the native corruptions, and how fast is imagecorruptions? Warm, decoding left out.

    python benchmarks/corruption_speed.py            # measure, minutes; writes results/corruption_speed.json
    python benchmarks/corruption_speed.py --compile  # what torch.compile would bring; adds to the same file
    python benchmarks/corruption_speed.py --report   # write results/corruption_speed.md from that file alone

Each corruption at severity 3 of the `imagenet` table, which is the only one the reference has. Native and
reference take turns within a process, round by round, and their ratio is the median over the rounds, so that
a machine that speeds up or slows down meanwhile does both alike. With one thread the clock is the process's
processor time, which other processes on the machine disturb least; with all threads it is the wall clock.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # for tests.oracle, where this file is run as a script

from benchmarks.clock import median_seconds  # noqa: E402
from lnbench import memory  # noqa: E402
from lnbench.corruptions import native, reference, registry  # noqa: E402
from lnbench.corruptions.rng import Key  # noqa: E402
from lnbench.dist import ALONE  # noqa: E402
from tests.oracle.pictures import from_batch, photographs, to_batch  # noqa: E402

RESULTS = HERE / "results" / "corruption_speed.json"
BATCHES = {224: 64, 32: 512}
SEVERITY = 3
ON_DEVICE = 0  # in place of a number of threads
THREADS = {ON_DEVICE: "GPU", 1: "1 thread"}
TARGET = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="at least so long for native in a round")
    parser.add_argument("--threads", type=int, action="append", help="repeatable; 1 and all without it")
    parser.add_argument(
        "--device",
        default="cpu",
        help="cuda: native there, by events; the reference on one thread",
    )
    parser.add_argument("--only", action="append", choices=registry.BENCHMARK, help="repeatable")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile on each kernel")
    parser.add_argument("--report", action="store_true", help="write the table from the results at hand")
    options = parser.parse_args()
    memory.keep_freed()  # as the commands do
    names = options.only or registry.BENCHMARK
    if options.compile:
        torch.set_num_threads(1)
        for name in names:
            save(f"compiled/{name}", compiled(name))
    elif not options.report:
        save("machine", machine())
        device = ALONE.device(options.device)
        every = [ON_DEVICE] if device.type == "cuda" else options.threads or sorted({1, os.cpu_count() or 1})
        for side in BATCHES:
            for threads in every:
                for name in names:
                    save(f"{side}/{threads}/{name}", compare(name, side, threads, options, device))
    RESULTS.with_suffix(".md").write_text(report(json.loads(RESULTS.read_text())))


# -- measuring ----------------------------------------------------------------------------------------------


def compare(
    name: str, side: int, threads: int, options: argparse.Namespace, device: torch.device
) -> dict[str, float]:
    """Images per second of both, and the ratio, of one corruption."""
    torch.set_num_threads(threads or 1)
    cv2.setNumThreads(threads or 1)
    clock = time.process_time if threads <= 1 else time.perf_counter
    pixels, run = batch_of(name, side, device)
    pictures = from_batch(pixels.cpu())
    source = reference._Source()  # its kernels themselves, without lnbench's seeding of every picture
    source.reseed("speed")
    kernel = source.load()[name]

    def refer(count: int) -> None:
        with np.errstate(all="ignore"):
            for picture in pictures[:count]:
                np.uint8(kernel(Image.fromarray(picture), SEVERITY))

    for _ in range(3):
        run()
    refer(2)
    started = clock()
    refer(2)
    # As many pictures as fill a round, at most the batch.
    count = max(2, min(len(pictures), int(options.seconds / max((clock() - started) / 2, 1e-5))))
    rounds = []
    if threads == ON_DEVICE:
        taken = median_seconds(lambda _: run(), device, repeats=max(options.rounds, 20))
    for _ in range(options.rounds):
        if threads == ON_DEVICE:
            middle = clock()
            refer(count)
            rounds.append((len(pictures) / taken, count / (clock() - middle)))
            continue
        runs, started = 0, clock()
        while clock() - started < options.seconds:
            run()
            runs += 1
        middle = clock()
        refer(count)
        rounds.append((runs * len(pictures) / (middle - started), count / (clock() - middle)))
    return {
        "native": round(statistics.median(fast for fast, _ in rounds), 1),
        "reference": round(statistics.median(slow for _, slow in rounds), 2),
        "ratio": round(statistics.median(fast / slow for fast, slow in rounds), 2),
    }


def batch_of(
    name: str, side: int, device: torch.device = torch.device("cpu")
) -> tuple[torch.Tensor, Callable[[], torch.Tensor]]:
    """A batch of crops of photographs, uint8 (B, 3, side, side), and what corrupts it."""
    large = photographs(2 * side, 2 * side)
    tiles = [
        large[:, y : y + side, x : x + side] for y in (0, side) for x in (0, side)
    ]  # 16 crops, repeated to the size of the batch
    pixels = to_batch(np.resize(np.concatenate(tiles), (BATCHES[side], side, side, 3)))
    pixels, key = pixels.to(device), Key(0, torch.arange(len(pixels), device=device))
    parameters = registry.parameters("imagenet", name, SEVERITY)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return native.corrupt(pixels, name, SEVERITY, key, parameters)

    return pixels, run


def compiled(name: str) -> dict[str, Any]:
    """Images per second of a kernel at 224 px on one thread, as it is and under torch.compile."""
    pixels, _ = batch_of(name, 224)
    kernel, key = registry.find(name).kernel, Key(0, torch.arange(8))
    parameters, part = registry.parameters("imagenet", name, SEVERITY), pixels[:8]

    def rate(function: Callable[..., torch.Tensor]) -> float:
        with torch.inference_mode():
            function(part, parameters, key)
            rounds = []
            for _ in range(5):
                started = time.process_time()
                for _ in range(4):
                    function(part, parameters, key)
                rounds.append(4 * len(part) / (time.process_time() - started))
        return round(statistics.median(rounds), 1)

    found: dict[str, Any] = {"eager": rate(kernel)}
    torch.compiler.reset()
    faster = torch.compile(kernel)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            result = faster(part, parameters, key)
            found["first_call_s"] = round(time.perf_counter() - started, 1)
            found["equal"] = bool(torch.equal(result, kernel(part, parameters, key)))
            found["compiled"] = rate(faster)
    except Exception as error:  # the compiler's failures are of many kinds; each is a result
        found["failed"] = type(error).__name__
    return found


def machine() -> dict[str, Any]:
    """Processor model, cores and versions: nothing that names a machine."""
    model = "unknown processor"
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "torch": torch.__version__.partition("+")[0],
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "load": round(os.getloadavg()[0], 1),
    }


def save(key: str, found: dict[str, Any]) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[key] = found
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in results.items())
    RESULTS.parent.mkdir(exist_ok=True)
    partial = RESULTS.with_suffix(".partial")
    partial.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    partial.replace(RESULTS)
    print(key, json.dumps(found), flush=True)


# -- the table ----------------------------------------------------------------------------------------------


def report(results: dict[str, Any]) -> str:
    about = results["machine"]
    introduction = (
        f"`python benchmarks/corruption_speed.py` on a processor that calls itself {about['processor']}, "
        f"{about['cores']} cores, torch {about['torch']}, NumPy {about['numpy']}, OpenCV {about['opencv']}. "
        "Images per second at severity 3, warm, decoding left out. *Reference* is imagecorruptions 1.1.2, "
        "picture by picture. Native and reference take turns, and the ratio is the median over rounds. One "
        "thread: images per second of processor time. All threads: of the wall clock."
    )
    if all(key.split("/")[1] == "1" for key in results if key.count("/") == 2):
        introduction += " (Not measured with all threads: that takes a quiet machine.)"
    if about["load"] > about["cores"]:
        introduction += (
            " The machine was busy with other work (load average "
            f"{about['load']:.0f} at the start), which wears on the caches of both: read the ratios. With all"
            " threads native had to share the cores with that work, so its figures there are a lower bound."
        )
    lines = ["# Speed of the corruptions", "", introduction, ""]
    for side, count in BATCHES.items():
        lines += table(results, side, count)
    return "\n".join(lines + compile_table(results))


def table(results: dict[str, Any], side: int, count: int) -> list[str]:
    threads = sorted({int(key.split("/")[1]) for key in results if key.startswith(f"{side}/")})
    groups = [
        {key.split("/")[2]: results[key] for key in results if key.startswith(f"{side}/{t}/")}
        for t in threads
    ]
    heads = [
        f"{word}, {THREADS.get(t, f'{t} threads')}"
        for t in threads
        for word in ("native", "reference", "ratio")
    ]
    lines = [
        f"## {side} px, batch {count}",
        "",
        f"| corruption | {' | '.join(heads)} |",
        "|:--|" + "--:|" * len(heads),
    ]
    for name in registry.BENCHMARK:
        row = [figure for group in groups for figure in figures(group.get(name))]
        lines.append(f"| {name} | {' | '.join(row)} |")
    means = [
        math.exp(statistics.mean(math.log(cell["ratio"]) for cell in group.values())) for group in groups
    ]
    lines.append("| **geometric mean** | " + " | ".join(f" |  | **{mean:.1f}×**" for mean in means) + " |")
    slower = [
        f"{name} ({groups[0][name]['ratio']:.2f}×)" for name in groups[0] if groups[0][name]["ratio"] < 1
    ]
    met = means[0] >= TARGET and not slower
    lines += [
        "",
        f"Target on one core: {TARGET:.0f}× in the geometric mean and none slower than the reference: "
        + ("met." if met else f"missed; {means[0]:.1f}×, slower: {', '.join(slower) or 'none'}."),
        "",
    ]
    return lines


def figures(cell: dict[str, float] | None) -> list[str]:
    if cell is None:
        return ["–", "–", "–"]
    return [f"{cell['native']:,.0f}", f"{cell['reference']:,.1f}", f"{cell['ratio']:.1f}×"]


def compile_table(results: dict[str, Any]) -> list[str]:
    cells = {key.split("/")[1]: cell for key, cell in results.items() if key.startswith("compiled/")}
    if not cells:
        return []
    ratios = [cell["compiled"] / cell["eager"] for cell in cells.values() if "compiled" in cell]
    verdict = (
        "none of those tried gains by it" if all(ratio < 1 for ratio in ratios) else "it would bring this"
    )
    lines = [
        "## torch.compile",
        "",
        f"The kernels run eagerly, with no compiler: {verdict}. (Their arithmetic is on small integers",
        "and tables already, in few passes over memory.) 224 px, 8 images, one thread, images per second",
        "of processor time; the first call by the wall clock, compiling included:",
        "",
        "| corruption | eager | compiled | ratio | first call, s | same pixels |",
        "|:--|--:|--:|--:|--:|:--|",
    ]
    for name, cell in cells.items():
        if "compiled" in cell:
            ratio, same = cell["compiled"] / cell["eager"], "yes" if cell["equal"] else "**no**"
            rest = f"{cell['compiled']:,.0f} | {ratio:.2f}× | {cell['first_call_s']:.1f} | {same}"
        else:
            rest = f"failed: {cell['failed']} | | |"
        lines.append(f"| {name} | {cell['eager']:,.0f} | {rest} |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
