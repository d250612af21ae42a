"""Lost reference pictures of an H.264 stream by `frame_num` of its slices: decoders conceal them without a word.

ITU-T H.264, 7.3.2.1.1 (sequence parameter set), 7.3.3 (slice header), 7.4.3: without gaps that the stream allows,
`frame_num` is that of the last reference picture or one more, modulo MaxFrameNum, and 0 in an IDR picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

_SLICE, _IDR, _SPS = 1, 5, 7
_WITH_CHROMA = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
"""profile_idc whose parameter sets tell of chroma."""
_HEADER_BYTES = 32
"""More than the fields before and with `frame_num` take."""


@dataclasses.dataclass(frozen=True)
class _Parameters:
    """Of a sequence parameter set."""

    bits: int
    """Of `frame_num`."""
    planes: bool
    """separate_colour_plane_flag."""
    gaps: bool
    """gaps_in_frame_num_value_allowed_flag."""


class H264FrameNumbers:
    """Follows one stream, packet by packet."""

    def __init__(self) -> None:
        self._parameters: _Parameters | None = None
        self._reference: int | None = None
        """`frame_num` of the last reference picture; None: not known."""

    def restart(self) -> None:
        """The next packet follows nothing."""
        self._reference = None

    def missing(self, units: Iterable[bytes]) -> bool:
        """Whether a reference picture is missing before this packet (its NAL units); False where it cannot be told."""
        missing = False
        for unit in units:
            kind = unit[0] & 31 if unit else 0
            try:
                if kind == _SPS:
                    self._parameters = _parameters(unit)
                elif kind in (_SLICE, _IDR) and self._parameters is not None:
                    return self._step(unit, kind, self._parameters) or missing
            except IndexError:  # cut short: the decoder says so
                return False
        return missing

    def _step(self, unit: bytes, kind: int, parameters: _Parameters) -> bool:
        bits = _Bits(unit[1:_HEADER_BYTES])
        for _ in range(3):  # first_mb_in_slice, slice_type, pic_parameter_set_id
            bits.golomb()
        if parameters.planes:
            bits.take(2)
        number, before, size = bits.take(parameters.bits), self._reference, 1 << parameters.bits
        if unit[0] >> 5 & 3:  # nal_ref_idc
            self._reference = number
        elif kind == _IDR:
            self._reference = 0
        if kind == _IDR or before is None or parameters.gaps:
            return False
        return number not in (before, (before + 1) % size)


class _Bits:
    """Bits of a NAL unit, most significant first; reading past the end raises `IndexError`."""

    def __init__(self, data: bytes) -> None:
        self._data = data.replace(b"\x00\x00\x03", b"\x00\x00")  # emulation prevention
        self._at = 0

    def take(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def golomb(self) -> int:
        """ue(v), 9.1."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise IndexError
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """se(v), 9.1.1."""
        code = self.golomb()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def _parameters(unit: bytes) -> _Parameters:
    bits = _Bits(unit[1:])
    profile = bits.take(8)
    bits.take(16)
    bits.golomb()  # seq_parameter_set_id
    planes = False
    if profile in _WITH_CHROMA:
        chroma = bits.golomb()
        planes = chroma == 3 and bool(bits.take(1))
        bits.golomb(), bits.golomb(), bits.take(1)  # bit depths, qpprime_y_zero_transform_bypass_flag
        if bits.take(1):
            for index in range(8 if chroma != 3 else 12):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    number_bits = bits.golomb() + 4
    order = bits.golomb()  # pic_order_cnt_type
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1), bits.signed(), bits.signed()
        for _ in range(bits.golomb()):
            bits.signed()
    bits.golomb()  # max_num_ref_frames
    return _Parameters(number_bits, planes, bool(bits.take(1)))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last
