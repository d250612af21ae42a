# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, call-arg"
"""The refiner's policy on the CPU, compiled: computed only where it can have changed since the step before.

The same as `Refiner.forward`. It is convolutional and deterministic, so a pixel in whose surround nothing moved would
choose as it chose before: to keep, or it would have moved. A step therefore costs what moved in the step before costs
it: of the first step every pixel is computed, of the later ones of a trained policy a few per cent. All on one thread:
a step is done before a second one would be awake, and other work has the cores.

Notation: h x w pixels (stride 4), N = h w; S channels of the state; C width of the hidden maps; A actions; L layers at
stride 8, whose places are the h/2 x w/2 blocks of 2x2 pixels; P largest dilation, the zeros around their maps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from clip_rl_perception.arrays import FloatArray
from clip_rl_perception.kernels.compiled import compiled_for_finite
from clip_rl_perception.kernels.refine_kernels import KEEP, RECALL

_UNAVAILABLE = np.float32(-1.0e4)
"""As in `model.refiner`."""
_TOGETHER = 4
"""Places that a layer computes at once: so often is a weight used that was read."""


class PolicyWeights(NamedTuple):
    """What the policy has learned; arrays are float32, inputs before outputs."""

    dynamic: FloatArray
    """Of the first layer, (9 S, C): 3x3 surrounds row by row, channels innermost."""
    flag: FloatArray
    """Added in the first layer where there is a previous frame, (C)."""
    around: FloatArray
    """Of the layers at stride 8, (L, 9 C, C), as `dynamic`."""
    around_bias: FloatArray
    """(L, C)."""
    join: FloatArray
    """(C, C)."""
    join_bias: FloatArray
    """(C)."""
    head: FloatArray
    """(C, A)."""
    head_bias: FloatArray
    """(A)."""
    dilations: npt.NDArray[np.int64]
    """Of the layers at stride 8, (L)."""
    lanes: tuple[int, ...]
    """C zeros: how long a tuple is, other than an array, is known to the compiler."""
    choices: tuple[int, ...]
    """A zeros."""


class PolicyMaps(NamedTuple):
    """What a frame's steps leave for the next one, and scratch."""

    near: FloatArray
    """After the first layer, (N, C)."""
    far: FloatArray
    """Its mean over 2x2 pixels, then after each layer at stride 8, (L + 1, h/2 + 2P, w/2 + 2P, C)."""
    marks: npt.NDArray[np.uint8]
    """Blocks to be computed, (h/2 + 2P, w/2 + 2P)."""
    pixel_marks: npt.NDArray[np.uint8]
    """Pixels to be computed, (h + 2, w + 2)."""
    places: npt.NDArray[np.int64]
    """Pixels or blocks to be computed, one after the other, (N + 3)."""
    sums: FloatArray
    """(3, 4 max(A, C))."""


def new_maps(size: tuple[int, int], weights: PolicyWeights) -> PolicyMaps:
    """Maps for a grid of `size` (h, w), both even."""
    (height, width), hidden = size, len(weights.lanes)
    border = int(max(weights.dilations, default=0))
    blocks = (height // 2 + 2 * border, width // 2 + 2 * border)
    return PolicyMaps(
        near=np.zeros((height * width, hidden), np.float32),
        far=np.zeros((len(weights.dilations) + 1, *blocks, hidden), np.float32),
        marks=np.zeros(blocks, np.uint8),
        pixel_marks=np.zeros((height + 2, width + 2), np.uint8),
        places=np.zeros(height * width + _TOGETHER - 1, np.int64),
        sums=np.zeros((3, _TOGETHER * max(hidden, len(weights.choices))), np.float32),
    )


@intrinsic
def _add_products(typingctx, sums, values, starts, weights, row, count, lanes):
    """``sums[j] += values[starts[j] : starts[j] + count] @ weights[row : row + count]`` for four j at once.

    In vectors as long as `lanes`, the sums in registers: what numba makes of the same loops in Python takes four times
    as long, because it cannot know that the sums are not changed through another array.

    Args:
        typingctx: numba's.
        sums: float32, four rows as long as `lanes`, flat.
        values: float32, flat.
        starts: four places in it.
        weights: float32 (any, len(lanes)), contiguous.
        row: the first of its rows.
        count: how many.
        lanes: a tuple.
    """

    def generate(context, builder, signature, arguments):
        def data(index):
            return context.make_array(signature.args[index])(context, builder, arguments[index]).data

        def at(pointer, place, step=1):
            return builder.gep(pointer, [builder.mul(place, ir.Constant(ir.IntType(64), step))])

        def vector_at(pointer, place):
            return builder.bitcast(at(pointer, place, lanes.count), vector.as_pointer())

        def fast(operation, *values):
            return operation(*values, flags=("contract",))

        zero = ir.Constant(ir.IntType(32), 0)
        vector = ir.VectorType(ir.FloatType(), lanes.count)
        undefined = ir.Constant(vector, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), lanes.count), [0] * lanes.count)
        results = [vector_at(data(0), ir.Constant(ir.IntType(64), j)) for j in range(_TOGETHER)]
        sources = [at(data(1), start) for start in cgutils.unpack_tuple(builder, arguments[2], _TOGETHER)]
        rows = at(data(3), arguments[4], lanes.count)
        registers = [cgutils.alloca_once(builder, vector) for _ in results]
        for result, register in zip(results, registers, strict=True):
            builder.store(builder.load(result, align=4), register)
        with cgutils.for_range(builder, arguments[5]) as loop:
            weight = builder.load(vector_at(rows, loop.index), align=4)
            for source, register in zip(sources, registers, strict=True):
                value = builder.load(at(source, loop.index), align=4)
                single = builder.insert_element(undefined, value, zero)
                same = builder.shuffle_vector(single, undefined, everywhere)
                product = fast(builder.fmul, same, weight)
                builder.store(fast(builder.fadd, builder.load(register), product), register)
        for result, register in zip(results, registers, strict=True):
            builder.store(builder.load(register), result, align=4)
        return context.get_dummy_value()

    whole = types.intp
    return types.void(sums, values, types.UniTuple(whole, _TOGETHER), weights, whole, whole, lanes), generate


@compiled_for_finite
def choose(state, static, has_previous, weights, maps, size, stale, count, pixels, actions):
    """The greedy action of every pixel that may choose otherwise than in the step before.

    Args:
        state: float32 (h + 2, w + 2, S), a border of zeros around.
        static: contribution of the image to the first layer, float32 (N, C).
        has_previous: whether there is a previous frame.
        weights: `PolicyWeights`.
        maps: `PolicyMaps` as the step before left them; any when all pixels are stale.
        size: (h, w).
        stale: int32, pixels whose state has changed since.
        count: how many of them; N for the first step of a frame.
        pixels: int32 (N + 1); written: those that do not keep. May be `stale`.
        actions: uint8 (N + 1); written: what each of those does.

    Returns:
        How many pixels do not keep.
    """
    height, width = size
    border = (maps.marks.shape[0] - height // 2) // 2
    everywhere = count == height * width
    if everywhere:
        for n in range(count):
            maps.places[n] = n
        maps.marks[:] = 1
        near = count
    else:
        maps.marks[:] = 0
        near = _around_pixels(stale, count, width, border, maps)
    _first_layer(state.reshape(-1), static, has_previous, weights, maps, width, near)
    blocks = _marked_blocks(maps, border)
    _pool(weights, maps, border, width, blocks)
    for layer in range(len(weights.dilations)):
        if not everywhere:
            _mark_around_blocks(maps, weights.dilations[layer], blocks)
            blocks = _marked_blocks(maps, border)
        _layer_at_blocks(weights, maps, layer, blocks)
    return _heads(weights, maps, border, width, blocks, has_previous, pixels, actions)


@compiled_for_finite
def _around_pixels(stale, count, width, border, maps):
    """List the 3x3 surrounds of stale pixels in `places`, mark their blocks; returns how many pixels they are."""
    maps.pixel_marks[:] = 0
    for i in range(count):
        y, x = stale[i] // width, stale[i] % width
        maps.pixel_marks[y : y + 3, x : x + 3] = 1
    found = 0
    for y in range(maps.pixel_marks.shape[0] - 2):
        for x in range(width):
            if maps.pixel_marks[y + 1, x + 1]:
                maps.places[found] = y * width + x
                maps.marks[border + y // 2, border + x // 2] = 1
                found += 1
    return found


@compiled_for_finite
def _marked_blocks(maps, border):
    """List marked blocks in `places`, as places in the maps with their borders; returns how many."""
    columns = maps.marks.shape[1]
    found = 0
    for y in range(border, maps.marks.shape[0] - border):
        for x in range(border, columns - border):
            if maps.marks[y, x]:
                maps.places[found] = y * columns + x
                found += 1
    return found


@compiled_for_finite
def _mark_around_blocks(maps, dilation, blocks):
    """Mark the blocks that a layer brings something to from the listed ones."""
    columns = maps.marks.shape[1]
    for i in range(blocks):
        y, x = maps.places[i] // columns, maps.places[i] % columns
        for row in range(y - dilation, y + dilation + 1, dilation):
            for column in range(x - dilation, x + dilation + 1, dilation):
                maps.marks[row, column] = 1


@compiled_for_finite
def _fill_up(places, count):
    """Repeat the last place, so that the list can be worked on by fours."""
    for i in range(count, count + 3 if count else 0):
        places[i] = places[count - 1]


@compiled_for_finite
def _first_layer(state, static, has_previous, weights, maps, width, count):
    """`near` of the listed pixels; `state` is flat."""
    hidden, sums = len(weights.lanes), maps.sums[0]
    third = weights.dynamic.shape[0] // 3
    channels = third // 3
    flag = np.float32(1 if has_previous else 0)
    _fill_up(maps.places, count)
    for i in range(0, count, 4):
        a, b, c, d = maps.places[i], maps.places[i + 1], maps.places[i + 2], maps.places[i + 3]
        for j in range(4):
            for k in range(hidden):
                sums[j * hidden + k] = static[maps.places[i + j], k] + flag * weights.flag[k]
        # The surround's first pixel, of an array with a border: two more for every row above.
        starts = ((a + 2 * (a // width)), (b + 2 * (b // width)), (c + 2 * (c // width)), (d + 2 * (d // width)))
        for row in range(3):
            down = row * (width + 2)
            _add_products(
                sums, state,
                ((starts[0] + down) * channels, (starts[1] + down) * channels,
                 (starts[2] + down) * channels, (starts[3] + down) * channels),
                weights.dynamic, row * third, third, weights.lanes,
            )  # fmt: skip
        for j in range(4):
            for k in range(hidden):
                maps.near[maps.places[i + j], k] = max(sums[j * hidden + k], np.float32(0))


@compiled_for_finite
def _pool(weights, maps, border, width, blocks):
    """Mean of `near` over the pixels of each listed block."""
    columns = maps.marks.shape[1]
    for i in range(blocks):
        y, x = maps.places[i] // columns, maps.places[i] % columns
        n = 2 * (y - border) * width + 2 * (x - border)
        for k in range(len(weights.lanes)):
            total = maps.near[n, k] + maps.near[n + 1, k] + maps.near[n + width, k] + maps.near[n + width + 1, k]
            maps.far[0, y, x, k] = total * np.float32(0.25)


@compiled_for_finite
def _layer_at_blocks(weights, maps, layer, blocks):
    """One layer at stride 8 at the listed blocks."""
    hidden, sums, columns = len(weights.lanes), maps.sums[0], maps.marks.shape[1]
    source, result = maps.far[layer].reshape(-1), maps.far[layer + 1].reshape(-1)
    _fill_up(maps.places, blocks)
    for i in range(0, blocks, 4):
        a, b, c, d = maps.places[i], maps.places[i + 1], maps.places[i + 2], maps.places[i + 3]
        for j in range(4):
            for k in range(hidden):
                sums[j * hidden + k] = weights.around_bias[layer, k]
        for tap in range(9):
            away = ((tap // 3 - 1) * columns + tap % 3 - 1) * weights.dilations[layer]
            starts = ((a + away) * hidden, (b + away) * hidden, (c + away) * hidden, (d + away) * hidden)
            _add_products(sums, source, starts, weights.around[layer], tap * hidden, hidden, weights.lanes)
        for j in range(4):
            start = maps.places[i + j] * hidden
            for k in range(hidden):
                result[start + k] = source[start + k] + max(sums[j * hidden + k], np.float32(0))


@compiled_for_finite
def _heads(weights, maps, border, width, blocks, has_previous, pixels, actions):
    """Action of the four pixels of each listed block; those that do not keep are written, their number returned."""
    hidden, choices, columns = len(weights.lanes), len(weights.choices), maps.marks.shape[1]
    seen, joined, logits = maps.sums[0], maps.sums[1], maps.sums[2]
    far = maps.far[len(weights.dilations)]
    found = 0
    for i in range(blocks):
        y, x = maps.places[i] // columns, maps.places[i] % columns
        first = 2 * (y - border) * width + 2 * (x - border)
        for j in range(4):
            n = first + j // 2 * width + j % 2
            for k in range(hidden):
                seen[j * hidden + k] = maps.near[n, k] + far[y, x, k]
                joined[j * hidden + k] = weights.join_bias[k]
            for a in range(choices):
                logits[j * choices + a] = weights.head_bias[a]
            if not has_previous:
                logits[j * choices + RECALL] = _UNAVAILABLE
        starts = (0, hidden, 2 * hidden, 3 * hidden)
        _add_products(joined, seen, starts, weights.join, 0, hidden, weights.lanes)
        for k in range(4 * hidden):
            joined[k] = max(joined[k], np.float32(0))
        _add_products(logits, joined, starts, weights.head, 0, hidden, weights.choices)
        for j in range(4):
            action, largest = KEEP, logits[j * choices + KEEP]
            for a in range(1, choices):
                value = logits[j * choices + a]
                action = a if value > largest else action
                largest = max(largest, value)
            pixels[found] = first + j // 2 * width + j % 2
            actions[found] = action
            found += action != KEEP  # what keeps is written over by the next one
    return found
