"""The time left, on simulated runs whose clock the test turns."""

from __future__ import annotations

import numpy as np
import pytest

from lnbench.evaluate.plan import Key, Step
from lnbench.evaluate.remaining import Remaining
from lnbench.types import CLEAN, Condition

MODES: dict[Key, float] = {(0, "fixed"): 1.0, (0, "batch"): 2.5, (0, "tent"): 40.0}  # true seconds an image
IMAGES, CHUNK, BATCH = 60, 7, 20


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def conditions(names: int = 6) -> list[Condition]:
    return [CLEAN, *(Condition(f"c{name}", severity) for name in range(names) for severity in (1, 3, 5))]


def corruption(condition: Condition) -> float:
    """True seconds an image: from nothing to twenty times the cheapest mode, dearest last."""
    return 0.0 if condition.is_clean else 0.5 * 1.9 ** int(condition.corruption[1:])


def planned(error: float, left: list[Condition], seed: int = 0) -> list[Step]:
    """What a trial would say: each part wrong by a factor of up to `error`, the same part always alike."""
    random = np.random.default_rng(seed)
    wrong = {key: error ** random.uniform(-1, 1) for key in MODES}
    lumps = dict.fromkeys([key for key in MODES if key[1] != "fixed"], BATCH)
    return [
        Step(
            one,
            IMAGES,
            {key: IMAGES * seconds * wrong[key] for key, seconds in MODES.items()},
            IMAGES * corruption(one) * error ** random.uniform(-0.5, 0.5),
            lumps,
        )
        for one in left
    ]


def simulate(work: Remaining, clock: Clock, left: list[Condition]) -> list[tuple[float, float]]:
    """(time, time left as told) at every chunk of a run that takes what it takes."""
    told = []
    for one in left:
        through = 0
        while through < IMAGES:
            before, through = through, min(IMAGES, through + CHUNK)
            batches = IMAGES // BATCH if through == IMAGES else through // BATCH
            counted = dict.fromkeys(MODES, through - before)
            for key in MODES:
                if key[1] != "fixed":
                    counted[key] = BATCH * (batches - before // BATCH)
            clock.now += (through - before) * corruption(one)
            clock.now += sum(MODES[key] * images for key, images in counted.items())
            work.progressed(one, through)
            told.append((clock.now, work.left() or 0.0))
        work.finished(one, {key: IMAGES * seconds for key, seconds in MODES.items()})
    return told


@pytest.mark.parametrize("error", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("done", [0, 9])
def test_the_time_left_is_within_a_fifth_from_a_tenth_of_the_run_on(error: float, done: int) -> None:
    left = conditions()[done:]
    for seed in range(5):
        clock = Clock()
        work = Remaining(planned(error, left, seed), clock=clock)
        told = simulate(work, clock, left)
        begin, end = 100.0, clock.now
        judged = [(end - at, said) for at, said in told if begin + (end - begin) / 10 <= at < end - 1]
        assert len(judged) > 40
        worst = max(abs(said - true) / true for true, said in judged[: -len(judged) // 20])
        assert worst < 0.2, (error, seed, worst)
        assert work.left() == 0 and work.share() == 1


def test_a_machine_that_slows_down_is_followed() -> None:
    clock = Clock()
    key = (0, "fixed")
    left = [Condition(f"c{number}", 1) for number in range(40)]
    work = Remaining([Step(one, 10, {key: 10.0}) for one in left], clock=clock)
    for number, one in enumerate(left):
        slow = 1 if number < 20 else 2
        clock.now += 10 * slow
        work.progressed(one, 10)
        work.finished(one, {key: 10.0 * slow})
        true = 10 * sum(1 if after < 20 else 2 for after in range(number + 1, 40))
        if 28 <= number < 39:  # it takes a while to be believed
            assert work.left() == pytest.approx(true, rel=0.2)


def test_conditions_that_are_counted_block_by_block() -> None:
    clock = Clock()
    fog, snow = Condition("fog", 1), Condition("snow", 1)
    key = (0, "batch")
    work = Remaining([Step(one, 40, {key: 40.0}, 40.0) for one in (fog, snow)], clock=clock)
    for images, said in ((10, 180), (20, 120), (40, 0)):  # a mode takes 2 s an image, the rest 1 s
        for one in (fog, snow):
            clock.now += 3 * (images - (10 if images == 20 else 20 if images == 40 else 0))
            work.progressed(one, images)
            work.finished(one, {key: 2.0 * images}, images)
        assert work.left() == pytest.approx(said, rel=0.05)


@pytest.mark.parametrize("measured", [True, False])
def test_blocks_that_were_there_before_cost_nothing(measured: bool) -> None:
    clock = Clock()
    fog, snow = Condition("fog", 1), Condition("snow", 1)
    key = (0, "batch")  # 2 s an image, the rest 1 s; 20 of the 40 images took 40 s before
    steps = [Step(one, 40, {key: 40.0}, 20.0, {}, 20, {key: 40.0}) for one in (fog, snow)]
    work = Remaining(steps, measured=measured, clock=clock)
    assert work.share() == 0 and work.left() == (pytest.approx(120) if measured else None)
    for images, (first, second) in ((30, (90, 60)), (40, (30, 0))):
        for one, said in ((fog, first), (snow, second)):
            clock.now += 30
            work.progressed(one, images)
            work.finished(one, {key: 2.0 * images}, images)
            assert work.left() == pytest.approx(said, rel=0.02) and work.share() == pytest.approx(
                1 - said / 120
            )
    assert work.rate() == pytest.approx(40 / 120)


def test_without_a_trial_the_pace_so_far_is_all_there_is() -> None:
    clock = Clock()
    work = Remaining([Step(one, 10, {}, 10) for one in conditions(1)], measured=False, clock=clock)
    assert work.left() is None and work.share() == 0
    clock.now += 20
    work.progressed(CLEAN, 10)
    assert work.left() == pytest.approx(60) and work.rate() == 0.5
    clock.now += 15  # nothing came since, but time went by
    assert work.left() == pytest.approx(45)


def test_a_mixed_stream_is_counted_besides() -> None:
    clock = Clock()
    fog, snow = Condition("fog", 1), Condition("snow", 1)
    key = (0, "batch")
    steps = [Step(fog, 10, {key: 10.0}), Step(snow, 10, {key: 10.0}), Step(None, 20, {key: 20.0})]
    work = Remaining(steps, clock=clock)
    for one in (fog, snow):
        clock.now += 5
        work.progressed(one, 5)
        clock.now += 5
        work.finished(one, {key: 10.0})
    assert (work.share(), work.left()) == pytest.approx((0.5, 20))
    clock.now += 10
    work.progressed(None, 10)
    assert (work.share(), work.left()) == pytest.approx((0.75, 10), rel=0.02)
    clock.now += 10
    work.finished(fog, {key: 10.0})  # its cell of the mixed stream: the whole of it is done
    assert (work.share(), work.left()) == pytest.approx((1, 0))
    work.finished(snow, {key: 10.0})
    assert work.share() == 1
