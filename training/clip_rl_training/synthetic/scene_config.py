"""Configuration of the synthetic scenes: how often, how large, how fast."""

from __future__ import annotations

import dataclasses

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class SceneConfig:
    """Ranges that scenes are drawn from. Lengths are fractions of the shorter image side unless said otherwise."""

    height: int = 512
    """Image height, px."""
    width: int = 640
    """Image width, px."""
    rate: float = 25.0
    """Frames per second of a video."""
    bank_seed: int = 0
    """Seed of the texture bank that all scenes share."""
    instrument_counts: tuple[float, ...] = (0.07, 0.25, 0.40, 0.22, 0.06)
    """Relative frequency of 0, 1, 2, ... instruments in a scene."""
    type_weights: tuple[float, ...] = (1.3, 1.3, 1.2, 1.2, 0.8, 0.8, 0.7)
    """Relative frequency of the seven types, in the order of their class ids 1 to 7."""
    laparoscopic: float = 0.15
    """Probability that an instrument is a rigid laparoscopic one of none of these types: grasper, hook, ..."""
    radius: Range = (0.026, 0.18)
    """Half the width of an instrument's shaft near its wrist."""
    unusual_colour: float = 0.06
    """Probability that tissue or an instrument gets any colour at all instead of a plausible one."""
    backgrounds: tuple[str, ...] = ()
    """Tissue kinds that may be the background, by name; none named: all."""
    background_folder: str = ""
    """Folder of the user's own pictures of tissue, in place of drawn tissue; empty: tissue is drawn."""
    cutout_folder: str = ""
    """Folder of the user's own instruments cut out, in place of drawn instruments; empty: instruments are drawn."""
    cutout_share: float = 1.0
    """Probability that an instrument is one of these where there are any; else it is drawn."""
    pale: float = 0.08
    """Probability of pale, bright tissue with hardly any colour."""
    colour_cast: float = 0.07
    """Deviation of the picture's white balance, natural logarithm per channel."""
    grayscale: float = 0.28
    """Probability of a grayscale scene (old archives and stereo rigs deliver those)."""
    overlay: float = 0.12
    """Probability of on-screen text boxes as consoles draw them."""
    content_shapes: tuple[float, float, float, float] = (0.50, 0.22, 0.10, 0.18)
    """Relative frequency of full frame, circle, rounded rectangle, rectangle with black borders."""
    smoke: float = 0.22
    """Probability of electrosurgical smoke."""
    blood: float = 0.35
    """Probability of blood pools and stains."""
    occlusion: float = 0.15
    """Probability that tissue covers a piece of the instruments."""
    thread: float = 0.22
    """Probability of suture thread, of a needle, of clips and of gauze (each on its own)."""
    fingers: float = 0.03
    """Probability of gloved or bare fingers that reach in from the rim. No instruments."""
    folds: float = 0.2
    """Probability of straight folds and clefts of tissue, as wide as a shaft. No instruments."""
    drapes: float = 0.16
    """Probability of bright, smooth, featureless things at the rim: drapes, bags, overexposed fat. No instruments."""
    phantoms: float = 0.30
    """Probability of shadows thrown by instruments that are not in sight themselves."""
    motion_blur: float = 0.22
    """Probability of visible motion blur."""
    defocus: float = 0.30
    """Probability of a defocused scene or instrument."""
    interlace: float = 0.04
    """Probability of interlaced video."""
    compression: float = 0.30
    """Probability of JPEG artefacts."""
    camera_motion: float = 0.035
    """Largest excursion of the camera in a video."""
    instrument_motion: float = 0.10
    """Largest excursion of an instrument's tip in a video."""

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 32 or max(self.height, self.width) > 8192:
            raise ValueError(f"scene size {self.height}x{self.width} is not possible; both sides must be 32 to 8192 px")
        if len(self.type_weights) != 7 or min(self.type_weights) < 0 or sum(self.type_weights) <= 0:
            raise ValueError(f"type_weights {self.type_weights} must be 7 numbers >= 0, one per instrument type")
        if not self.instrument_counts or min(self.instrument_counts) < 0 or sum(self.instrument_counts) <= 0:
            raise ValueError(
                f"instrument_counts {self.instrument_counts} must be frequencies >= 0 of 0, 1, 2, ... tools"
            )
        if len(self.instrument_counts) > 9:
            raise ValueError(f"instrument_counts has {len(self.instrument_counts)} entries; at most 8 instruments fit")
        if not 0 < self.radius[0] <= self.radius[1] <= 0.5:
            raise ValueError(f"radius {self.radius} must be (low, high) with 0 < low <= high <= 0.5")
        if self.rate <= 0:
            raise ValueError(f"rate {self.rate} must be positive frames per second")
