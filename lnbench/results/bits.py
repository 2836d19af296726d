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
