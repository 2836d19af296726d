"""Are the random words random? A small battery over the counter-based generator, its predecessor beside it.

    python benchmarks/generator.py            # a minute or two; writes results/generator.json and .md
    python benchmarks/generator.py --quick    # an eighth of the words, printed and not written
    python benchmarks/generator.py --report   # the table again from the figures at hand

What a counter-based generator must not do is agree with itself where the counter, the image, the seed or
the stream is near: so words are paired across each of these, and all 32 × 32 pairs of their bits are
correlated, pooled (a bias common to all) and group by group (a bias that changes its sign from image to
image, as a sum of squares). Then each bit of 1,500 images, and of as many positions, with the same bit of
every other one: pairs that agree are few, and no average shows them. Beside that: how often each byte and
each half appears, spacings of birthdays (Marsaglia & Tsang, Some difficult-to-pass tests of randomness,
2002), repeats within an image, positions that are equal in two images, ranks of bit matrices, and what
flipping a bit of the id does.

Every statistic has a known distribution where words are random; p is two-sided where too even is wrong too.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import stats

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # where this file is run as a script

from lnbench.corruptions import rng  # noqa: E402

RESULTS = HERE / "results" / "generator.json"
FAILS = 1e-6  # of some 40 tests; what is wrong falls below by orders of magnitude
SIDE = 224

Words = Callable[[rng.Key, int], torch.Tensor]
Row = dict[str, float | str]


def first_generator(key: rng.Key, count: int) -> torch.Tensor:
    """The words of generator 1: int32 (B, count). Kept for this comparison alone."""
    counters = _first_counters(count)
    state = key.ids.mul(_GOLDEN).add_(key.seed)
    state.bitwise_xor_((state >> 32).bitwise_and_(0xFFFFFFFF)).mul_(_MIX)
    state.bitwise_xor_((state >> 32).bitwise_and_(0xFFFFFFFF))
    own = state.view(torch.int32).view(-1, 2)
    words = counters.bitwise_xor(own[:, :1])
    words.mul_(own[:, 1:] | 1)
    words.bitwise_xor_((words >> 20).bitwise_and_(0xFFF))
    return words.mul_(0x846CA68B - 2**32)


_GOLDEN, _MIX = 0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64


@lru_cache(maxsize=32)
def _first_counters(count: int) -> torch.Tensor:
    counters = torch.arange(count, dtype=torch.int64).mul_(_GOLDEN)
    for _ in range(2):
        counters = counters.bitwise_xor_((counters >> 32).bitwise_and_(0xFFFFFFFF)).mul_(_MIX)
    return counters.view(torch.int32)[1::2].contiguous().view(1, -1)


GENERATORS: dict[str, Words] = {"1": first_generator, "2": rng.bits}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="an eighth of the words; nothing is written")
    parser.add_argument("--report", action="store_true", help="write the table from the figures at hand")
    options = parser.parse_args()
    if options.report:
        RESULTS.with_suffix(".md").write_text(report(json.loads(RESULTS.read_text())))
        return
    share = 8 if options.quick else 1
    torch.set_num_threads(1)
    found = {name: list(battery(words, share)) for name, words in GENERATORS.items()}
    content = {"tests": found, "cost": cost(5 if options.quick else 25), "torch": torch.__version__}
    if not options.quick:
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(report(content))
    print(report(content))


# -- the battery --------------------------------------------------------------------------------------------


def battery(words: Words, share: int = 1) -> Iterator[Row]:
    """Every test: its name, what was counted, its statistic and p."""
    images, count = 40, 30_000 // share
    whole = words(rng.Key(0, torch.arange(images + 1)), count)
    for lag in (1, 2, 16):
        yield from correlated(f"images {lag} apart", whole[lag:], whole[:-lag])
    for lag in (1, 2, 3, 32, SIDE, 1024):
        yield from correlated(f"positions {lag} apart", whole[:, lag:], whole[:, :-lag])
    ids = torch.arange(images)
    for name, keys in {
        "seeds 1 apart": (rng.Key(5, ids), rng.Key(6, ids)),
        "seed and id changed together": (rng.Key(6, ids), rng.Key(5, ids + 1)),
        "streams of two names": (rng.Key(0, ids).stream("snow"), rng.Key(0, ids).stream("fog")),
        "streams 0 and 1": (rng.Key(0, ids).stream(0), rng.Key(0, ids).stream(1)),
        "ids 2^32 apart": (rng.Key(0, ids), rng.Key(0, ids + 2**32)),
    }.items():
        yield from correlated(name, *(words(key, count) for key in keys))
    many = words(rng.Key(4, torch.arange(1500)), 4096 // share)
    yield from pairs("images", many)
    yield from pairs("positions", words(rng.Key(4, torch.arange(4096 // share)), 1500).t().contiguous())
    yield from even("along positions", whole)
    across = words(rng.Key(3, torch.arange(1_200_000 // share)), 2)
    yield from even("across images", across[:, :1])
    yield birthdays("along positions", words(rng.Key(1, torch.arange(32 // share or 1)), 8 * 4096))
    yield birthdays("across images", across[: len(across) // 4096 * 4096, 0].reshape(1, -1))
    by_seed = torch.cat([words(rng.Key(seed, torch.tensor([0])), 64) for seed in range(8192 // share)])
    yield birthdays("across seeds", by_seed.t())
    yield repeats(words(rng.Key(0, torch.tensor([7])), 1_080_000))
    yield shared(words(rng.Key(0, torch.tensor([0, 1])), 3 * SIDE * SIDE))
    yield ranks("along positions", whole)
    yield ranks("across images", across[:, 0])
    yield avalanche(words, 24_000 // share)


def correlated(name: str, one: torch.Tensor, other: torch.Tensor) -> Iterator[Row]:
    """Every bit of one word with every bit of the other, int32 (groups, n) each."""
    n = one.shape[1]
    products = torch.stack([_signs(a).t() @ _signs(b) for a, b in zip(one, other, strict=True)])
    pooled = products.double().sum(0) / math.sqrt(n * len(one))  # 32 × 32 z-scores
    worst = float(pooled.abs().max())
    bit = int(pooled.abs().max(1).values.argmax())
    yield row(f"bits, {name}", n * len(one), f"worst z {worst:.1f} (bit {bit})",
              -math.expm1(1024 * math.log1p(-2 * stats.norm.sf(worst))))  # fmt: skip
    squares = float((products.double().square() / n).sum())
    yield row(f"bits, {name}, by image", n * len(one), _chi(squares, products.numel()),
              _two_sided(stats.chi2, squares, products.numel()))  # fmt: skip


def _signs(words: torch.Tensor) -> torch.Tensor:
    """Bits of int32 (n,) as ±1: float32 (n, 32)."""
    return ((words[:, None] >> torch.arange(32, dtype=torch.int32)) & 1).float().mul_(2).sub_(1)


def pairs(what: str, words: torch.Tensor) -> Iterator[Row]:
    """Each bit of all rows with the same bit of all other rows, int32 (rows, n)."""
    rows, n = words.shape
    worst, squares, lowest = 0.0, 0.0, 0
    for bit in range(32):
        signs = ((words >> bit) & 1).float().mul_(2).sub_(1)
        z = (signs @ signs.t()).div_(math.sqrt(n)).fill_diagonal_(0)
        squares += float(z.double().square().sum()) / 2
        if float(z.abs().max()) > worst:
            worst, lowest = float(z.abs().max()), bit
    count = 32 * rows * (rows - 1) // 2
    yield row(f"bits, all pairs of {rows} {what}", count // 32, f"worst z {worst:.1f} (bit {lowest})",
              -math.expm1(count * math.log1p(-2 * stats.norm.sf(worst))))  # fmt: skip
    yield row(f"bits, all pairs of {rows} {what}, squares", count // 32, _chi(squares, count),
              float(2 * stats.norm.sf(abs(squares - count) / math.sqrt(2 * count))))  # fmt: skip


def even(name: str, words: torch.Tensor) -> Iterator[Row]:
    """How often each value of each byte, and of each half, appears."""
    flat = words.contiguous().view(-1).numpy()
    for what, values in (("bytes", flat.view(np.uint8)), ("halves", flat.view(np.uint16))):
        lanes = 4 if what == "bytes" else 2
        size = 256 if what == "bytes" else 65536
        square = 0.0
        for lane in range(lanes):
            counts = np.bincount(values[lane::lanes], minlength=size)
            square += float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
        freedom = lanes * (size - 1)
        yield row(f"{what}, {name}", flat.size, _chi(square, freedom),
                  _two_sided(stats.chi2, square, freedom))  # fmt: skip


def birthdays(name: str, words: torch.Tensor, days: int = 4096) -> Row:
    """Equal spacings among the sorted words of each `days`: Poisson of mean days³ / 2^34 each."""
    groups = words.contiguous().view(-1, days).to(torch.int64).bitwise_and_(0xFFFFFFFF)
    spacings = groups.sort(1).values.diff(dim=1).sort(1).values
    found = int((spacings.diff(dim=1) == 0).sum())
    expected = len(groups) * days**3 / 2**34
    return row(f"birthday spacings, {name}", groups.numel(), f"{found} for {expected:.0f}",
               _two_sided(stats.poisson, found, expected))  # fmt: skip


def repeats(words: torch.Tensor) -> Row:
    """Pairs of equal words within one image."""
    n = words.shape[1]
    found = n - len(words[0].unique())
    expected = n * (n - 1) / 2**33
    return row("repeats within an image", n, f"{found} for {expected:.0f}",
               _two_sided(stats.poisson, found, expected))  # fmt: skip


def shared(words: torch.Tensor) -> Row:
    """Pairs of positions of a 224 px image whose words are equal in two images at once."""
    pairs = (words.to(torch.int64)[0] << 32) + words.to(torch.int64)[1]
    found = pairs.numel() - len(pairs.unique())
    return row("positions equal in two images", pairs.numel(), f"{found} for 0", 1.0 if not found else 0.0)


def ranks(name: str, words: torch.Tensor) -> Row:
    """Ranks over two elements of 32 × 32 matrices of bits, a word a row."""
    rows = words.contiguous().view(-1).numpy().view(np.uint32)
    rows = rows[: len(rows) // 32 * 32].reshape(-1, 32).copy()
    rank = np.zeros(len(rows), dtype=int)
    every = np.arange(len(rows))
    for bit in range(32):
        has = (rows >> np.uint32(bit)) & 1 == 1
        has &= np.arange(32)[None] >= rank[:, None]  # rows above are used already
        pivot, some = has.argmax(1), has.any(1)
        at = np.minimum(rank, 31)
        chosen, moved = rows[every, pivot].copy(), rows[every, at].copy()
        rows[every[some], at[some]], rows[every[some], pivot[some]] = chosen[some], moved[some]
        others = ((rows >> np.uint32(bit)) & 1 == 1) & (np.arange(32)[None] != at[:, None]) & some[:, None]
        rows ^= np.where(others, chosen[:, None], np.uint32(0))
        rank += some
    counts = [np.sum(rank == 32), np.sum(rank == 31), np.sum(rank <= 30)]
    full = math.prod(1 - 2.0**-k for k in range(1, 33))
    one_less = full * 2 * (1 - 2.0**-32) / (1 - 2.0**-1) / 2 * (2 - 2.0**-31) / 2
    expected = np.array([full, one_less, 1 - full - one_less]) * len(rank)
    square = float(((np.array(counts) - expected) ** 2 / expected).sum())
    return row(
        f"ranks of bit matrices, {name}", rank.size * 32, _chi(square, 2), float(stats.chi2.sf(square, 2))
    )


def avalanche(words: Words, images: int) -> Row:
    """Flipping one of the 20 lowest bits of the id flips each bit of the word half of the time."""
    ids = torch.arange(images) * 977
    usual = words(rng.Key(2, ids), 1)[:, 0]
    square = 0.0
    for bit in range(20):
        flipped = words(rng.Key(2, ids ^ (1 << bit)), 1)[:, 0] ^ usual
        square += float((_signs(flipped).double().sum(0).square() / images).sum())
    return row("a flipped bit of the id", images * 20, _chi(square, 640), _two_sided(stats.chi2, square, 640))


def row(name: str, words: int, statistic: str, p: float) -> Row:
    return {"test": name, "words": words, "statistic": statistic, "p": float(p)}


def _chi(square: float, freedom: int) -> str:
    return f"χ² z {(square - freedom) / math.sqrt(2 * freedom):+.1f}"


def _two_sided(law: object, value: float, parameter: float) -> float:
    below, above = law.cdf(value, parameter), law.sf(value - (law is stats.poisson), parameter)  # type: ignore[attr-defined]
    return float(min(1.0, 2 * min(below, above)))


# -- cost and table -----------------------------------------------------------------------------------------


def cost(rounds: int) -> dict[str, float]:
    """Nanoseconds of the processor for a word, by generator and size, median over rounds that take turns."""
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        for side, batch in ((SIDE, 16), (32, 256)):
            key, count = rng.Key(0, torch.arange(batch)), 3 * side * side
            for name, words in GENERATORS.items():
                words(key, count)
                begin = time.process_time()
                words(key, count)
                spent = time.process_time() - begin
                taken.setdefault(f"{name}/{side}", []).append(1e9 * spent / (batch * count))
    return {name: float(np.median(times)) for name, times in taken.items()}


def report(content: dict[str, dict[str, object]]) -> str:
    """The table, as Markdown."""
    old, new = content["tests"]["1"], content["tests"]["2"]
    lines = [
        "# The generator under test",
        "",
        "Written by `python benchmarks/generator.py`. Generator 1 is what records without a `generator`",
        f"have, 2 is today's. A p below {FAILS:g} is a failure and stands in **bold**.",
        "",
        "| test | words | generator 1 | p | generator 2 | p |",
        "|:--|--:|:--|--:|:--|--:|",
    ]
    for a, b in zip(old, new, strict=True):  # type: ignore[call-overload]
        cells = [f"{x['statistic']} | {_shown(x['p'])}" for x in (a, b)]
        lines.append(f"| {a['test']} | {a['words']:,} | {cells[0]} | {cells[1]} |")
    failed = [sum(x["p"] < FAILS for x in found) for found in (old, new)]  # type: ignore[attr-defined]
    lines += ["", f"Failed: {failed[0]} of {len(old)} by generator 1, {failed[1]} by generator 2.", ""]  # type: ignore[arg-type]
    lines += ["Nanoseconds of one core for a word of 32 bits, both in turns within one process:", ""]
    lines += ["| side | generator 1 | generator 2 |", "|--:|--:|--:|"]
    for side in (SIDE, 32):
        lines.append(f"| {side} | {content['cost'][f'1/{side}']:.2f} | {content['cost'][f'2/{side}']:.2f} |")
    return "\n".join(lines) + "\n"


def _shown(p: float) -> str:
    return f"**{p:.0e}**" if p < FAILS else f"{p:.3g}"


if __name__ == "__main__":
    main()
