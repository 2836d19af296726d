"""Per-image correctness as bits: base64 text in JSON, packed rows in `correct.npz`."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from lnbench.errors import RecordError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def pack(correct: ArrayLike) -> str:
    """Pack correctness flags, shape (N,) in store order, into base64, most significant bit first."""
    import numpy as np

    flags = np.asarray(correct).astype(bool).reshape(-1)  # (N,)
    return base64.b64encode(np.packbits(flags).tobytes()).decode("ascii")


def places(text: str, count: int) -> NDArray[np.int64]:
    """Which of the packed flags are set: int64 (count,). RecordError when it is not `count` of them."""
    import numpy as np

    found = np.flatnonzero(unpack(text, 8 * (len(text) * 3 // 4 - text.count("="))))
    if len(found) != count:
        raise RecordError(f"a cell counts {count} images and names {len(found)}: the record is damaged")
    return found


def unpack(text: str, images: int) -> NDArray[np.bool_]:
    """Undo `pack`: bool (images,). RecordError when the text is not `images` bits."""
    import numpy as np

    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise RecordError(f"correctness bits are not base64 ({error}): the record is damaged") from None
    if len(raw) != (images + 7) // 8:
        raise RecordError(
            f"correctness bits hold {len(raw)} bytes, {images} images need {(images + 7) // 8}: "
            "the record is damaged"
        )
    return np.unpackbits(np.frombuffer(raw, dtype=np.uint8), count=images).astype(bool)  # (N,)
