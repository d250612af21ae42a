"""Drawing instruments: each part is painted as a patch in its own coordinates, laid into the image by a homography."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray

from clip_rl_training.synthetic.drawing.banks import TextureBank
from clip_rl_training.synthetic.drawing.rendered_frame import as_bytes, as_floats
from clip_rl_training.synthetic.drawing.shapes import Points, bounds, fill, transform
from clip_rl_training.synthetic.instruments.depth import SeenAside
from clip_rl_training.synthetic.instruments.finishes import response_table
from clip_rl_training.synthetic.instruments.geometry import Detail, Part

_TEXTS = ("da Vinci Surgery", "HEM-O-LOK", "MADE IN", "8 mm", "420205", "<->", "ENDOWRIST")


def _add_detail(
    detail: Detail,
    height: FloatArray,
    tone: FloatArray,
    scale: float,
    origin: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Carve one detail into the height field (shaft radii) and the tone field (factor) of a patch."""
    rows, columns = height.shape
    u0, v0 = (detail.u - origin[0]) * scale, (detail.v - origin[1]) * scale
    length, width = max(detail.length * scale, 1.0), max(detail.width * scale, 1.0)
    if detail.kind == "groove":
        a = int(np.clip(u0, 0, columns - 1))
        b = int(np.clip(u0 + max(length, 1.5), a + 1, columns))
        tone[:, a:b] *= 0.35
        tone[:, b : b + 1] *= 1.4
    elif detail.kind == "ribs":
        a, b = int(np.clip(u0, 0, columns)), int(np.clip(u0 + length, 0, columns))
        wave = np.sin((np.arange(rows, dtype=np.float32) - v0) * np.float32(2 * np.pi / width))[:, None]
        height[:, a:b] += 0.35 * detail.width * wave
        tone[:, a:b] *= 1.0 - 0.45 * np.maximum(-wave, 0)
    elif detail.kind == "teeth":
        a, b = int(np.clip(u0, 0, columns)), int(np.clip(u0 + length, 0, columns))
        wave = np.sign(np.sin(np.arange(b - a, dtype=np.float32) * np.float32(2 * np.pi / max(width, 2.5))))[None, :]
        near = np.exp(-((np.abs(np.arange(rows, dtype=np.float32) - v0) / max(0.25 * scale, 1.0)) ** 2))[:, None]
        tone[:, a:b] *= 1.0 + 0.6 * wave * near
    else:
        layer = np.zeros((rows, columns), np.uint8)
        if detail.kind == "slot":
            half = max(1, round(width / 2))
            cv2.line(layer, (round(u0), round(v0)), (round(u0 + length), round(v0)), 255, 2 * half, cv2.LINE_AA)
            tone *= 1.0 - layer.astype(np.float32) * np.float32(0.85 / 255)
        elif detail.kind == "rivet":
            center = (round(u0), round(v0))
            cv2.circle(layer, center, max(1, round(length)), 255, -1, cv2.LINE_AA)
            blurred = cv2.GaussianBlur(layer, (0, 0), max(0.6, length * 0.3)).astype(np.float32)
            height += blurred * np.float32(detail.length * 0.5 / 255)
            cv2.circle(layer, center, max(1, round(length)), 0, -1, cv2.LINE_AA)
            cv2.circle(layer, center, max(1, round(length)), 255, max(1, round(0.2 * length)), cv2.LINE_AA)
            tone *= 1.0 - layer.astype(np.float32) * np.float32(0.6 / 255)
        elif detail.kind == "text":
            size = max(0.25, width / 22)
            text = _TEXTS[int(rng.integers(len(_TEXTS)))]
            place, thickness = (round(u0), round(v0 + width * 0.4)), max(1, round(size * 2))
            cv2.putText(layer, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, 255, thickness, cv2.LINE_AA)
            tone += layer.astype(np.float32) * np.float32(rng.uniform(0.3, 0.9) / 255)


def _fine_grain(bank: TextureBank, rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """The weave of worn carbon fibre or blasted steel: grain of a pixel or two, longer along the shaft, deviation 1."""
    rough = bank.sensor_noise(rng, size)
    fine = cv2.GaussianBlur(rough, (0, 0), sigmaX=float(np.exp(rng.uniform(-0.7, 1.1))), sigmaY=0.6)
    return as_floats(fine / max(float(fine.std()), 1e-3))


def render_patch(
    part: Part, scale: float, lean: tuple[float, float], ambient: tuple[float, float, float], bank: TextureBank
) -> tuple[ByteArray, tuple[float, float]]:
    """Paint a part as a patch.

    Args:
        part: What to paint; its own seed makes the result repeatable.
        scale: Patch pixels per shaft radius.
        lean: Direction of the light in the part's coordinates, as slopes along u and v.
        ambient: Colour of the surroundings, 0..1.
        bank: Textures.

    Returns:
        uint8 (rows, columns, 3), rows run along v, columns along u; and the local (u, v) of its top-left corner.
    """
    rng = np.random.default_rng(part.seed)
    u_low, v_low = part.outline.min(axis=0)
    u_high, v_high = part.outline.max(axis=0)
    columns, rows = max(4, round((u_high - u_low) * scale)), max(4, round((v_high - v_low) * scale))
    middle, half = (v_low + v_high) / 2, (v_high - v_low) / 2
    v = ((np.arange(rows, dtype=np.float32) + 0.5) / scale + v_low - middle) / max(half, 1e-3)
    v = np.clip(v, -0.985, 0.985)
    if part.profile == "round":
        slope_v = (np.float32(part.finish.form) * v / np.sqrt(1.0 - v * v))[:, None]
    else:
        slope_v = (np.sign(v) * np.maximum(np.abs(v) - 0.45, 0.0) * 2.2)[:, None]
    height = np.zeros((rows, columns), np.float32)
    tone = np.ones((rows, columns), np.float32)
    finish = part.finish
    grain = bank.crop(rng, "rough", (rows, columns))
    if finish.brush > 0.02:
        strip = bank.crop(rng, "fibres", (rows, columns))
        tone += finish.brush * 0.4 * strip
    tone += grain * (0.25 * finish.speckle + 0.08)
    tone += _fine_grain(bank, rng, (rows, columns)) * (0.3 * finish.speckle + 0.02)
    if finish.speckle > 0.3:
        tone += (0.5 * finish.speckle) * (grain > 1.7)
    if part.joint == "shaft":  # towards its entry a shaft comes nearer to lens and lamp, or leaves the light
        u = (np.arange(columns, dtype=np.float32) / scale + u_low)[None, :]
        tone *= np.exp(np.clip(np.minimum(u, 0) * np.float32(-0.1 * rng.normal(0.1, 0.35)), -0.9, 0.7))
    for detail in part.details:
        if detail.kind != "band":
            _add_detail(detail, height, tone, scale, (float(u_low), float(v_low)), rng)
    lean_v = slope_v - np.float32(lean[1]) + cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=scale / 8)
    lean_u = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=scale / 8) - np.float32(lean[0] * 0.5)
    lean_v += grain * np.float32(0.10 + 0.5 * finish.mirror * (part.profile == "plate"))
    total = lean_v + 0.5 * lean_u
    index = np.clip(128 + 63.5 * total, 0, 255).astype(np.uint8)
    np.clip(tone, 0.05, 2.5, out=tone)
    color = np.take(response_table(rng, finish, ambient), index, axis=0)
    for detail in part.details:
        if detail.kind == "band" and detail.finish is not None:
            a = int(np.clip((detail.u - u_low) * scale, 0, columns))
            b = int(np.clip((detail.u + detail.length - u_low) * scale, 0, columns))
            color[:, a:b] = np.take(response_table(rng, detail.finish, ambient), index[:, a:b], axis=0)
    color *= tone[:, :, None]
    return np.clip(color, 0, 255).astype(np.uint8), (float(u_low), float(v_low))


def render_part(
    image: ByteArray,
    pieces: ByteArray,
    piece: int,
    part: Part,
    homography: Points,
    lean: tuple[float, float],
    ambient: tuple[float, float, float],
    gain: float,
    light: FloatArray,
    blur: float,
    bank: TextureBank,
    aside: SeenAside | None = None,
) -> None:
    """Draw one part over `image` (H, W, 3) and write its `piece` number into `pieces` (H, W), both in place.

    The hard mask is the set of pixels whose centre region is covered by at least half; the colour edge is anti-aliased.

    Args:
        image: RGB.
        pieces: Piece numbers.
        piece: Number of this part.
        part: The part.
        homography: Its local coordinates to pixels.
        lean: Light direction as slopes along x and y of the image.
        ambient: Colour of the surroundings.
        gain: Brightness factor.
        light: How the light fades over the image, (H, W, 3), three equal channels.
        blur: Defocus, standard deviation in px.
        bank: Textures.
        aside: What makes the right eye's picture of it, where `homography` leads there.
    """
    size = (image.shape[0], image.shape[1])
    outline = transform(part.outline, homography)
    box = bounds(outline, size, 2 + int(2.5 * blur))
    if box is None:
        return
    left, top, right, bottom = box
    shift = np.array([left, top], np.float64)
    local = [outline - shift, *(transform(hole, homography) - shift for hole in part.holes)]
    coverage = fill((bottom - top, right - left), local)
    if not coverage.any():
        return
    painted = homography if aside is None else aside.left  # both eyes see one surface
    axis = painted[:2, 0] / max(float(np.linalg.norm(painted[:2, 0])), 1e-9)
    across = painted[:2, 1] / max(float(np.linalg.norm(painted[:2, 1])), 1e-9)
    local_lean = (float(axis @ lean), float(across @ lean))
    width_px = float(
        np.linalg.norm(transform(np.array([[0.0, 1.0]]), painted) - transform(np.array([[0.0, 0.0]]), painted))
    )
    extent = float(np.ptp(part.outline[:, 0]))
    scale = float(np.clip(width_px, 3.0, min(30.0, 1000.0 / extent)))
    patch, origin = render_patch(part, scale, local_lean, ambient, bank)
    if aside is not None:
        patch = aside.surface(part, patch, scale, origin)
    to_local = np.array([[1 / scale, 0, origin[0] + 0.5 / scale], [0, 1 / scale, origin[1] + 0.5 / scale], [0, 0, 1]])
    to_image = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]]) @ homography @ to_local
    color = cv2.warpPerspective(
        patch, to_image, (right - left, bottom - top), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    color = cv2.multiply(color, light[top:bottom, left:right], scale=gain, dtype=cv2.CV_8U)
    soft = coverage
    if blur > 0.4:
        soft = as_bytes(cv2.GaussianBlur(coverage, (0, 0), blur))
        color = cv2.GaussianBlur(color, (0, 0), blur)
    window = image[top:bottom, left:right]
    weight = soft.astype(np.float32) * np.float32(1 / 255)
    window[:] = cv2.blendLinear(color, np.ascontiguousarray(window), weight, 1.0 - weight)
    pieces[top:bottom, left:right][coverage > 127] = piece
