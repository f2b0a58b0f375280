"""The CPU backend: Numba kernels under torch's autograd.

Two autograd functions: `Project` (Gaussians to projected means, depths and records) and `Composite` (records to
pixels). The projected means pass from one to the other as a plain tensor, so that `retain_grad` works on them.

Threads: as many as torch uses. Numba's and torch's thread pools spin against each other when other programs keep the
cores busy; the environment variable OMP_WAIT_POLICY=passive, set before Python starts, makes them sleep instead: up to
ten times steadier on a busy machine, a little slower on an idle one.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import numba
import numpy as np
import torch
from torch import Tensor

from realhead.splatting import compilation  # noqa: F401  (says when kernels are compiled)
from realhead.splatting.backends import expected_depth
from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.compose import TILE_H, TILE_W, blend
from realhead.splatting.kernels.project import CAMERA_SIZE, project
from realhead.splatting.kernels.project_backward import CAMERA_GRADIENTS, project_backward
from realhead.splatting.kernels.replay import NUM_MOMENTS, gather, replay
from realhead.splatting.kernels.simd import native_lanes
from realhead.splatting.kernels.tiles import deal, depth_order, tile_lists
from realhead.splatting.scene import Scene, check_values, refuse

LANES = (0,) * native_lanes()
NO_COLORS = np.empty(0, np.float32)
LONGEST_BLOCK = 8  # rows between two exponentials, where eps2d allows it
SAFE_EPS2D = 0.299  # square pixels; see `kernels.compose`
MAX_PAIRS = 1 << 28  # (Gaussian, tile) pairs of one camera: about 10 GB of gradient slots


@dataclass(frozen=True)
class Settings:
    """What the autograd functions need besides tensors."""

    width: int
    height: int
    near: float
    far: float
    eps2d: float
    radius_clip: float
    antialiased: bool
    degree: int
    """Of the spherical harmonics; -1: colours are features."""
    with_depth: bool
    lanes: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """Height of a block as a type."""
        return (0,) * (LONGEST_BLOCK if self.eps2d >= SAFE_EPS2D else 1)

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles in x and y."""
        return -(-self.width // TILE_W), -(-self.height // TILE_H)


@contextmanager
def torch_threads():
    """Lets Numba use as many threads as torch, and leaves its setting as it was."""
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def flat(tensor: Tensor | None) -> np.ndarray | None:
    """A tensor's values as a flat array (shared where it is contiguous)."""
    return None if tensor is None else tensor.detach().contiguous().numpy().reshape(-1)


def camera_words(settings: Settings, viewmat: Tensor, K: Tensor, centre: Tensor) -> np.ndarray:
    """Packs a camera as the kernels read it; the clamps of x / z and y / z reach 15 % outside the image."""
    view, intrinsics = viewmat.detach().double().numpy(), K.detach().double().numpy()
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    width, height = settings.width, settings.height
    clamps = (
        -(cx + 0.15 * width) / fx,
        (1.15 * width - cx) / fx,
        -(cy + 0.15 * height) / fy,
        (1.15 * height - cy) / fy,
    )
    rest = (fx, fy, cx, cy, *clamps, settings.near, settings.far, settings.eps2d, settings.radius_clip, width, height)
    words = [*view[:3, :3].reshape(-1), *view[:3, 3], *centre.detach().double().numpy(), *rest]
    assert len(words) == CAMERA_SIZE
    return np.asarray(words, np.float32)


class OutOfRangeError(ArithmeticError):
    """A kernel met values that it cannot draw; the caller finds out which."""


class Project(torch.autograd.Function):
    """Projects the Gaussians into each camera."""

    @staticmethod
    def forward(ctx, settings, means, covars, quats, scales, opacities, colors, viewmats, Ks, centres):
        """Returns means2d [C, N, 2], depths [C, N], records [C, N, 16], radii [C, N, 2] and, aside, keys and totals."""
        arrays = [flat(t) for t in (means, covars, quats, scales)]
        opacity, color = flat(opacities), NO_COLORS if colors is None else flat(colors)
        count, num_cameras = len(opacity), len(viewmats)
        chunks = -(-count // rec.CHUNK)
        means2d, depths = torch.empty(num_cameras, count, 2), torch.empty(num_cameras, count)
        records = torch.empty(num_cameras, count, rec.SIZE)
        radii = torch.empty(num_cameras, count, 2, dtype=torch.int32)
        keys = np.empty((num_cameras, count), np.float32)
        totals = np.zeros((num_cameras, chunks, 3), np.int64)
        cameras = [camera_words(settings, *each) for each in zip(viewmats, Ks, centres, strict=True)]
        with torch_threads():
            for c, camera in enumerate(cameras):
                record = flat(records[c])
                project(
                    settings.lanes, TILE_W, TILE_H, camera, *arrays, opacity, color, settings.degree,
                    settings.antialiased, record, record.view(np.int32), flat(means2d[c]), flat(depths[c]), keys[c],
                    flat(radii[c]).view(np.float32), totals[c],
                )  # fmt: skip
        if totals[..., 0].any():
            raise OutOfRangeError
        ctx.settings, ctx.cameras = settings, cameras
        ctx.save_for_backward(means, covars, quats, scales, opacities, colors, records)
        ctx.mark_non_differentiable(radii)
        ctx.set_materialize_grads(False)
        ctx.shapes = (viewmats.shape, centres.shape)
        return means2d, depths, records, radii, keys, totals

    @staticmethod
    def backward(ctx, grad_means2d, grad_depths, grad_records, *_):
        """Adds up the gradients of all cameras."""
        means, covars, quats, scales, opacities, colors, records = ctx.saved_tensors
        settings, count = ctx.settings, len(opacities)
        num_cameras, chunks = len(records), -(-count // rec.CHUNK)
        grads = [None if t is None else torch.empty(t.shape) for t in (means, covars, quats, scales, opacities)]
        grad_colors = None
        if settings.degree >= 0:
            whole = (settings.degree + 1) ** 2 == colors.shape[-2]
            grad_colors = (torch.empty if whole else torch.zeros)(colors.shape)
        partial = np.zeros((num_cameras, chunks, CAMERA_GRADIENTS), np.float32)
        want_camera = ctx.needs_input_grad[7] or ctx.needs_input_grad[9]
        arrays = [flat(t) for t in (means, covars, quats, scales)]
        color, grad_color = (NO_COLORS if t is None else flat(t) for t in (colors, grad_colors))
        nothing = torch.zeros(1).expand(count * rec.SIZE).contiguous()
        with torch_threads():
            for c, camera in enumerate(ctx.cameras):
                incoming = [nothing if g is None else g[c] for g in (grad_means2d, grad_depths, grad_records)]
                project_backward(
                    settings.lanes, camera, *arrays, color, settings.degree, settings.antialiased,
                    flat(records[c]), *(flat(g) for g in incoming), c > 0, want_camera, *(flat(g) for g in grads),
                    grad_color, partial[c],
                )  # fmt: skip
        grad_views = grad_centres = None
        if want_camera:
            sums = torch.from_numpy(partial.sum(1, dtype=np.float64).astype(np.float32))
            grad_views = torch.zeros(ctx.shapes[0])
            grad_views[:, :3, :3], grad_views[:, :3, 3] = sums[:, :9].reshape(-1, 3, 3), sums[:, 9:12]
            grad_centres = sums[:, 12:]
        return None, *grads, grad_colors, grad_views, None, grad_centres


@dataclass(frozen=True)
class Pass:
    """One round of compositing: up to three features, and the depth, lie side by side in the records."""

    first_feature: int
    num_features: int
    num_channels: int

    @property
    def word(self) -> int:
        """Where the channels begin in a record: they end with the depth, or before it."""
        return rec.DEPTH - self.num_features

    @property
    def channels(self) -> tuple[int, ...]:
        """The number of channels as a type."""
        return (0,) * self.num_channels


def plan_passes(num_features: int, with_depth: bool) -> list[Pass]:
    """Splits the channels into rounds; the depth goes with the last features."""
    starts = list(range(0, num_features, 3)) or [0]
    sizes = [min(3, num_features - start) for start in starts]
    return [
        Pass(start, size, size + (with_depth and start == starts[-1]))
        for start, size in zip(starts, sizes, strict=True)
    ]


class TileLists:
    """Depth-ordered lists of one camera, and where each Gaussian's gradient slots lie."""

    def __init__(self, settings: Settings, words: np.ndarray, keys: np.ndarray, totals: np.ndarray):
        drawn, pairs = int(totals[:, 1].sum()), int(totals[:, 2].sum())
        if pairs > MAX_PAIRS:
            refuse(
                f"{drawn} Gaussians cover {pairs} tiles of {TILE_W}x{TILE_H} pixels; make them or the image smaller."
            )
        order = depth_order(keys.view(np.uint32), drawn)
        threads = numba.get_num_threads()
        self.num_pairs = pairs
        self.ids, self.offsets = tile_lists(words, order, TILE_W, TILE_H, *settings.tiles, threads)
        self.jobs = deal(self.offsets, threads)
        self.bases = np.concatenate([[0], np.cumsum(totals[:-1, 2])]) if len(totals) else np.zeros(1, np.int64)


class Composite(torch.autograd.Function):
    """Blends the records of each camera into its image."""

    @staticmethod
    def forward(ctx, settings, passes, means2d, records, features, backgrounds, keys, totals):
        """Returns images [C, H, W, D] and alphas [C, H, W]; means2d only receives a gradient."""
        num_cameras, num_channels = len(records), sum(p.num_channels for p in passes)
        images = torch.empty(num_cameras, settings.height, settings.width, num_channels)
        alphas = torch.empty(num_cameras, settings.height, settings.width)
        lists = []
        with torch_threads():
            for c in range(num_cameras):
                record = flat(records[c])
                words = record.view(np.int32)
                lists.append(TileLists(settings, words, keys[c], totals[c]))
                channel = 0
                for each in passes:
                    paint(records[c], features, c, each)
                    background = np.zeros(each.num_channels, np.float32)
                    if backgrounds is not None:
                        background[: each.num_features] = backgrounds[
                            c, each.first_feature : each.first_feature + each.num_features
                        ].detach()
                    blend(
                        settings.lanes, settings.rows, each.channels, each.word, record, words, lists[c].ids,
                        lists[c].offsets, lists[c].jobs, background, channel, images[c].numpy(), alphas[c].numpy(),
                    )  # fmt: skip
                    channel += each.num_channels
        ctx.settings, ctx.passes, ctx.lists = settings, passes, lists
        ctx.save_for_backward(records, features, backgrounds, images, alphas)
        ctx.set_materialize_grads(False)
        return images, alphas

    @staticmethod
    def backward(ctx, grad_images, grad_alphas):
        """Replays each image and gathers the gradients of the records."""
        records, features, backgrounds, images, alphas = ctx.saved_tensors
        settings, count = ctx.settings, records.shape[1]
        grad_images = torch.zeros_like(images) if grad_images is None else grad_images.contiguous()
        grad_means2d, grad_records = torch.zeros(*records.shape[:2], 2), torch.zeros_like(records)
        grad_features = None if features is None else torch.zeros_like(features)
        grad_backgrounds = None if backgrounds is None else torch.zeros_like(backgrounds)
        num_tiles = settings.tiles[0] * settings.tiles[1]
        with torch_threads():
            for c, lists in enumerate(ctx.lists):
                record, grad_record = flat(records[c]), flat(grad_records[c])
                words, channel = record.view(np.int32), 0
                for each in ctx.passes:
                    paint(records[c], features, c, each)
                    alpha_gradient = np.empty((0, 0), np.float32)
                    if grad_alphas is not None and channel == 0:
                        alpha_gradient = grad_alphas[c].contiguous().numpy()
                    slots = np.empty(lists.num_pairs * (NUM_MOMENTS + each.num_channels), np.float32)
                    partial = np.zeros((num_tiles, each.num_channels), np.float32)
                    replay(
                        settings.lanes, settings.rows, each.channels, each.word, record, words, lists.ids,
                        lists.offsets, lists.bases, lists.jobs, channel, images[c].numpy(), alphas[c].numpy(), grad_images[c].numpy(),
                        alpha_gradient, slots, partial,
                    )  # fmt: skip
                    gather(
                        each.num_channels, each.word, record, words, lists.bases, slots, flat(grad_means2d[c]),
                        grad_record, -(-count // rec.CHUNK),
                    )  # fmt: skip
                    span = slice(each.first_feature, each.first_feature + each.num_features)
                    if features is not None:
                        grad = grad_records[c][:, each.word : rec.DEPTH]
                        (grad_features if features.ndim == 2 else grad_features[c])[:, span] += grad
                        grad.zero_()
                    if backgrounds is not None:
                        total = partial.sum(0, dtype=np.float64)[: each.num_features]
                        grad_backgrounds[c, span] = torch.from_numpy(total).float()
                    channel += each.num_channels
        return None, None, grad_means2d, grad_records, grad_features, grad_backgrounds, None, None


def paint(records: Tensor, features: Tensor | None, camera: int, each: Pass) -> None:
    """Writes the features of a pass into the colour words of the records."""
    if features is None or each.num_features == 0:
        return
    values = (features if features.ndim == 2 else features[camera]).detach().numpy()
    # by way of numpy: the words painted over are nobody's saved values, so torch need not count a new version
    target = records.detach().numpy()
    target[:, each.word : rec.DEPTH] = values[:, each.first_feature : each.first_feature + each.num_features]


def draw_with_kernels(scene: Scene, lanes: tuple[int, ...] = LANES):
    """Draws all cameras of a checked scene."""
    with_color, with_depth = scene.mode not in ("D", "ED"), scene.mode != "RGB"
    harmonics = with_color and scene.sh_degree is not None
    settings = Settings(
        scene.width, scene.height, scene.near, scene.far, scene.eps2d, scene.radius_clip, scene.antialiased,
        scene.sh_degree if harmonics else -1, with_depth, lanes,
    )  # fmt: skip
    linear, translation = scene.viewmats[:, :3, :3], scene.viewmats[:, :3, 3]
    centres = -torch.linalg.solve(linear, translation)
    try:
        means2d, depths, records, radii, keys, totals = Project.apply(
            settings, scene.means, scene.covars, scene.quats, scene.scales, scene.opacities,
            scene.colors if harmonics else None, scene.viewmats, scene.Ks, centres,
        )  # fmt: skip
    except OutOfRangeError:
        check_values(scene)
        refuse("values overflow float32 when projected; scale the scene to a size near 1, away from the camera.")
    features = scene.colors if with_color and not harmonics else None
    backgrounds = scene.backgrounds if with_color else None
    num_features = (3 if harmonics else scene.colors.shape[-1]) if with_color else 0
    passes = plan_passes(num_features, with_depth)
    if scene.backgrounds is None or not with_color:
        backgrounds = None
    images, alphas = Composite.apply(settings, passes, means2d, records, features, backgrounds, keys, totals)
    images, alphas = expected_depth(scene, images, alphas[..., None])
    visible = (radii[..., 0] > 0).nonzero()
    meta = {
        "camera_ids": visible[:, 0],
        "gaussian_ids": visible[:, 1],
        "radii": radii,
        "means2d": means2d,
        "depths": depths,
        "width": scene.width,
        "height": scene.height,
    }
    return images, alphas, meta
