"""What is checked and settled before the grid, each at its edge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lnbench import config
from lnbench.data.batches import drawn
from lnbench.errors import DataError, UsageError
from lnbench.evaluate import evaluation, loop, prepare
from lnbench.evaluate.stream import Stream
from lnbench.models.classifier import Classifier
from lnbench.norm.convert import convert_localnorm
from lnbench.norm.wrap import attach
from lnbench.types import CLEAN, Condition
from tests.networks import CLASSES, write_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    return write_task(tmp_path_factory.mktemp("task"))


def prepared(task: tuple[str, str, str], **options: Any) -> evaluation.Prepared:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "corruptions": ["contrast"],
              "severities": [5], "batch_size": 40, "modes": ["fixed"], **options}  # fmt: skip
    return evaluation.prepare_all([config.resolve(config.load_preset("core"), chosen)])


def test_labels_must_have_an_output_each(task: tuple[str, str, str]) -> None:
    ready = prepared(task)
    (subject,), store = ready.subjects, ready.images.clean
    assert list(prepare.check_fit(subject, store)) == []
    one_more = replace(store, labels=np.append(store.labels[:-1], CLASSES))
    with pytest.raises(DataError, match=r"labels up to 4, net has only 4 classes"):
        list(prepare.check_fit(subject, one_more))


def test_a_mode_may_look_at_all_images_and_at_no_more(task: tuple[str, str, str]) -> None:
    prepared(task, modes=["adapt:n=90"])
    with pytest.raises(UsageError, match=r"mode 'adapt:n=91': the data has only 90 images"):
        prepared(task, modes=["adapt:n=91"])
    with pytest.raises(UsageError, match=r"91 draws cannot share 90 images"):
        prepared(task, modes=["adapt:n=8,draws=91"])


def test_adapt_draws_its_images_anew_for_each_condition(
    task: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = prepared(task, modes=["adapt:n=8,draws=2"], seed=5)
    seen: list[torch.Tensor] = []
    logits = Classifier.logits

    def noted(self: Classifier, pixels: torch.Tensor, *network: Any) -> torch.Tensor:
        seen.append(pixels)
        return logits(self, pixels, *network)

    monkeypatch.setattr(Classifier, "logits", noted)
    conditions = [c for c, _ in loop.run(ready.subjects, ready.images, lambda s, m, c: False)]
    assert conditions == [CLEAN, Condition("contrast", 5)]
    (subject,) = ready.subjects
    wanted = [
        Stream(ready.images.clean, c, subject.config, torch.device("cpu"), seed=5, corrupted=False).pixels(
            drawn(90, 8, 5, c, number)
        )
        for c in conditions
        for number in (0, 1)
    ]
    found = [pixels for pixels in seen if len(pixels) == 8]
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_the_batch_that_fits_is_a_multiple_of_the_groups(
    task: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = prepared(task, modes=["batch"], batch_size=45)
    (subject,) = ready.subjects
    subject.layers.detach()
    convert_localnorm(subject.classifier.network, groups=3)
    subject = replace(subject, layers=attach(subject.classifier.network))
    logits = Classifier.logits

    def limited(self: Classifier, pixels: torch.Tensor, *network: Any) -> torch.Tensor:
        if len(pixels) > 22:
            raise torch.OutOfMemoryError("out of memory")
        return logits(self, pixels, *network)

    monkeypatch.setattr(Classifier, "logits", limited)
    # Half of 45 is 22, which the device would hold, but which three groups cannot share.
    with pytest.raises(UsageError, match=r"a batch of 45 images does not fit .*; --batch-size 21 fits"):
        list(loop.run([subject], ready.images, lambda s, m, c: False))


def test_no_command_computes_in_reduced_float32(task: tuple[str, str, str]) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    prepared(task)
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_the_batch_is_never_larger_than_the_data_and_the_table_suits_the_images(
    task: tuple[str, str, str],
) -> None:
    (subject,) = prepared(task, batch_size=1000).subjects
    assert (subject.config.batch_size, subject.config.table) == (90, "cifar")
    assert subject.classes == CLASSES
