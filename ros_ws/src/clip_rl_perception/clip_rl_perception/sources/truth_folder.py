"""Ground truth from a folder of masks, for any source of frames."""

from __future__ import annotations

from pathlib import Path

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.picture_files import PictureError
from clip_rl_perception.sources.folder_files import image_files
from clip_rl_perception.sources.frames import Frame, SourceError, SourceInfo
from clip_rl_perception.sources.mask_coding import MaskCoding
from clip_rl_perception.sources.mask_files import read_mask

_STAMP_DIGITS = 16
"""A file name of so many digits or more is a stamp in ns."""


class TruthFolder:
    """Masks of a folder, matched to frames by file name, by stamp, or by place.

    | source | mask of a frame |
    |---|---|
    | folder of images | the file of the same name, whatever its suffix |
    | bag, files named by stamps in ns | the file named by the frame's stamp |
    | bag or video, any other names | the file at the frame's place in natural order; the counts must be equal |
    """

    def __init__(self, folder: Path, coding: MaskCoding, info: SourceInfo) -> None:
        """Appearance at the folder.

        Args:
            folder: the masks, or a folder that has them in ``labels`` or ``masks``.
            coding: how they are stored.
            info: of the frames.

        Raises:
            SourceError: no folder, no masks in it, or not as many as there are frames.
        """
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder; expected one mask image per frame")
        files = image_files(folder) or image_files(folder / "labels") or image_files(folder / "masks")
        if not files:
            raise SourceError(f"{folder}: no mask images in it; expected one per frame, PNG")
        self._coding = coding
        self._by_stem = {file.stem: file for file in files}
        self._in_order: list[Path] | None = None
        stems = [file.stem for file in files]
        self._by_stamp = all(stem.isdecimal() and len(stem) >= _STAMP_DIGITS for stem in stems)
        if info.kind != "folder" and not self._by_stamp:
            if info.frames is not None and info.frames != len(files):
                raise SourceError(
                    f"{folder}: {len(files)} masks for {info.frames} frames of {info.path.name}; name them by the "
                    "frames' stamps in nanoseconds, or give one per frame"
                )
            self._in_order = files

    def truth_of(self, frame: Frame) -> ByteArray | None:
        """Class ids in the coding's classes, uint8 (H, W); None where the folder has no mask for the frame.

        Raises:
            SourceError: cannot be read, or another size than the frame. CodingError: values without a class.
        """
        file = self._file_of(frame)
        if file is None:
            return None
        try:
            truth = self._coding.decode(read_mask(file), str(file))
        except PictureError as error:
            raise SourceError(f"{file} {error}") from error
        if truth.shape != frame.rgb.shape[:2]:
            raise SourceError(f"{file}: labels are {truth.shape} but the image is {frame.rgb.shape[:2]}")
        return truth

    def _file_of(self, frame: Frame) -> Path | None:
        if self._in_order is not None:
            return self._in_order[frame.index] if 0 <= frame.index < len(self._in_order) else None
        return self._by_stem.get(str(frame.stamp_ns) if self._by_stamp else Path(frame.name).stem)
