"""The parametric head: equations (2) and (3) against loops written from the formula."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from realhead.errors import RealheadError
from realhead.head.model import PARENTS, Head, HeadData, lbs

V, S, E = 14, 3, 2


def tiny_data(seed: int = 0, **changes) -> HeadData:
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(1024, np.full(5, 0.2), V) / 1024  # float32 holds them, and their sum, exactly
    regressor = rng.random((5, V))
    data = HeadData(
        name="tiny",
        v_template=rng.normal(size=(V, 3)),
        shapedirs=rng.normal(size=(V, 3, S)) * 0.1,
        exprdirs=rng.normal(size=(V, 3, E)) * 0.1,
        posedirs=rng.normal(size=(V, 3, 36)) * 0.02,
        J_regressor=regressor / regressor.sum(1, keepdims=True),
        weights=weights,
        faces=rng.integers(0, V, (6, 3)),
        uv_coords=rng.random((V, 2)),
        uv_faces=rng.integers(0, V, (6, 3)),
        expression_names=("smile", "frown"),
        regions={"skin": np.arange(V) < 10},
        eyelids=rng.normal(size=(2, V, 3)) * 0.05,
    )
    return dataclasses.replace(data, **changes)


@pytest.fixture
def head() -> Head:
    return Head(tiny_data()).double()


def parameters(batch: int, seed: int = 1) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    sizes = ((S,), (E,), (5, 3), (3,), (2,))
    return tuple(torch.randn(batch, *size, generator=g, dtype=torch.float64) * 0.5 for size in sizes)


def by_the_formula(head: Head, shape, expression, pose, translation, eyelids) -> np.ndarray:
    """One person, one vertex at a time, with chains of 4 x 4 matrices."""
    get = lambda name: getattr(head, name).numpy()  # noqa: E731
    shaped = get("v_template") + get("shapedirs") @ shape + get("exprdirs") @ expression
    joints = get("J_regressor") @ shaped
    turns = Rotation.from_rotvec(pose).as_matrix()
    canonical = shaped + get("posedirs") @ (turns[1:] - np.eye(3)).reshape(-1)
    world, vertices = [], []
    for j, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = turns[j]
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    for v in range(V):
        total = np.zeros(4)
        for j in range(5):
            back = np.eye(4)
            back[:3, 3] = -joints[j]
            total += head.weights[v, j].item() * (world[j] @ back @ [*canonical[v], 1])
        vertices.append(total[:3] + eyelids @ get("eyelids")[:, v] + translation)
    return np.array(vertices)


def test_forward_equals_the_formula(head):
    values = parameters(3)
    expected = np.stack([by_the_formula(head, *(p[i].numpy() for p in values)) for i in range(3)])
    np.testing.assert_allclose(head(*values).numpy(), expected, atol=1e-12)


def test_batch_equals_loop(head):
    values = parameters(4)
    single = torch.cat([head(*(p[i : i + 1] for p in values)) for i in range(4)])
    torch.testing.assert_close(head(*values), single)


def test_float32_agrees_with_float64():
    values, head = parameters(2), Head(tiny_data())
    single = head(*(p.float() for p in values))
    torch.testing.assert_close(single.double(), head.double()(*values), atol=1e-5, rtol=1e-5)


def test_gradients_are_right(head):
    values = tuple(p.requires_grad_() for p in parameters(1))
    assert torch.autograd.gradcheck(head, values)


def test_gradient_at_rest_is_finite(head):
    values = tuple(torch.zeros_like(p).requires_grad_() for p in parameters(1))
    head(*values).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in values)
    assert values[2].grad.abs().max() > 0


def test_rest_pose_is_the_template(head):
    zeros = tuple(torch.zeros_like(p) for p in parameters(1))
    torch.testing.assert_close(head(*zeros)[0], head.v_template)


def test_root_turns_about_its_joint(head):
    shape, expression, pose, translation, _ = (torch.zeros_like(p) for p in parameters(1))
    pose[0, 0] = torch.tensor([0.3, -0.8, 0.4])
    before = head.joints(shape, expression)[0, 0]
    transform = head.joint_transforms(shape, expression, pose, translation)[0, 0]
    torch.testing.assert_close(transform[:3, :3] @ before + transform[:3, 3], before)
    assert (head(shape, expression, pose, translation)[0] - head.v_template).abs().max() > 0.1


def test_root_rotation_has_no_corrective(head):
    shape, expression, pose, _, _ = (torch.zeros_like(p) for p in parameters(1))
    pose[0, 0, 0] = 1.0
    torch.testing.assert_close(head.canonical(shape, expression, pose), head.canonical(shape, expression))


def test_skinning_the_canonical_head_gives_the_posed_one(head):
    shape, expression, pose, translation, _ = parameters(2)
    transforms = head.joint_transforms(shape, expression, pose, translation)
    skinned = lbs(head.canonical(shape, expression, pose), head.weights, transforms)
    torch.testing.assert_close(skinned, head(shape, expression, pose, translation))


def test_fewer_coefficients_mean_zeros(head):
    shape, expression, pose, translation, _ = parameters(1)
    short = head(shape[:, :1], expression[:, :1], pose, translation)
    shape[:, 1:], expression[:, 1:] = 0, 0
    torch.testing.assert_close(short, head(shape, expression, pose, translation))


def test_zero_padding_is_accepted_and_anything_else_refused(head):
    shape, expression, pose, translation, _ = parameters(1)
    padded = torch.cat([shape, torch.zeros(1, 300 - S, dtype=shape.dtype)], 1)
    torch.testing.assert_close(head(padded, expression, pose, translation), head(shape, expression, pose, translation))
    padded[0, 200] = 0.1
    with pytest.raises(RealheadError, match="300 shape coefficients"):
        head(padded, expression, pose, translation)


@pytest.mark.parametrize("name", ["v_template", "shapedirs", "exprdirs", "posedirs", "J_regressor", "weights"])
def test_hash_follows_the_content(name):
    changed = getattr(tiny_data(), name).copy()
    changed.reshape(-1)[3] += 1e-3
    assert Head(tiny_data(**{name: changed})).hash != Head(tiny_data()).hash


def test_hash_does_not_ask_which_zeros_are_negative():
    zeros = tiny_data().posedirs * 0
    assert Head(tiny_data(posedirs=-zeros)).hash == Head(tiny_data(posedirs=zeros)).hash


def test_hash_leaves_textures_and_regions_out():
    other = Head(tiny_data(regions={}, uv_coords=tiny_data().uv_coords[::-1].copy()))
    assert other.hash == Head(tiny_data()).hash
    assert other.uv_hash != Head(tiny_data()).uv_hash
    assert len(other.hash) == 16


def test_region_faces_need_all_three_corners(head):
    inside = (head.faces < 10).all(1)
    assert inside.any()
    assert torch.equal(head.region_faces("skin"), inside)
    with pytest.raises(RealheadError, match="no region 'nose'"):
        head.region_faces("nose")


def test_landmarks_ride_on_their_triangles():
    faces = np.array([[0, 1, 2]])
    marks = {"68": (np.zeros(1, np.int64), np.array([[0.2, 0.3, 0.5]], np.float32))}
    head = Head(tiny_data(faces=faces, uv_faces=faces, landmarks=marks))
    place = head.landmark_positions(head.v_template[None])[0, 0]
    torch.testing.assert_close(place, torch.tensor([0.2, 0.3, 0.5]) @ head.v_template[:3])
