"""Which pictures an evaluation enrolls, and which it scores: the studio, wild and ablation protocols.

Studio and ablation: several cameras. The person is enrolled from the neutral frame and driven by the other timesteps of
all sequences. Wild: one camera. Three frames of the training part are enrolled and the last frames are scored (V-D).
Nothing that is scored as "unseen" was enrolled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import roma
import torch

from realhead.capture.capture import Capture, CaptureSet, Frame, View
from realhead.enrollment import choose_views
from realhead.errors import CaptureError

if TYPE_CHECKING:
    from realhead.evaluation import EvaluationConfig

Protocol = Literal["studio", "wild", "ablation"]


@dataclass(frozen=True)
class ScoredView:
    """A picture to score, with the capture that knows its frontal (driving) picture."""

    capture: Capture
    view: View

    @property
    def azimuth(self) -> float:
        """Angle between the face's direction and the camera about the head's own vertical, radians; left positive."""
        return camera_azimuth(self.view)


@dataclass(frozen=True)
class PersonViews:
    """All that an evaluation does with one person.

    Attributes:
        person: The name.
        captures: All sequences.
        home: The sequence whose neutral frame is enrolled.
        enrolled: Pictures by number of shots; 0 holds the picture that the identity texture is made of.
        unseen: Pictures to score.
        clip: Frames of one camera in order, for the temporal metrics.
    """

    person: str
    captures: list[Capture]
    home: Capture
    enrolled: dict[int, list[View]]
    unseen: list[ScoredView]
    clip: list[ScoredView]

    @property
    def shared(self) -> list[View]:
        """Pictures that every enrolled avatar was given, so that methods are compared on the same ones."""
        return min(self.enrolled.values(), key=len)

    @property
    def clip_gap(self) -> int:
        """Largest step between two frames of the clip; 1 for consecutive ones."""
        timesteps = [s.view.frame.timestep for s in self.clip]
        return max((b - a for a, b in zip(timesteps, timesteps[1:])), default=0)


def people_of(captures: CaptureSet, protocol: Protocol, limit: int | None) -> dict[str, list[Capture]]:
    """The people to evaluate: those whom split.json holds out; clips of a wild set may do without the file.

    Raises:
        CaptureError: Nobody is held out, or the cameras do not fit the protocol.
    """
    people = captures.people("test") or (captures.people() if protocol == "wild" else {})
    if not people:
        raise CaptureError(
            f"{captures.root} holds nobody out, so there is nobody to test on: name people in split.json as "
            '{"test": ["..."]}.'
        )
    wanted = dict(list(people.items())[:limit])
    for person, own in wanted.items():
        single = all(len(c.cameras) == 1 for c in own)
        if single != (protocol == "wild"):
            fitting = "wild" if single else "studio"
            raise CaptureError(
                f"{person} was captured by {'one camera' if single else 'several cameras'}, which the {protocol} "
                f"protocol does not take: use --protocol {fitting}."
            )
    return wanted


def person_views(person: str, captures: list[Capture], protocol: Protocol, config: EvaluationConfig) -> PersonViews:
    """Chooses a person's pictures; the same pictures in every run."""
    choose = _wild if protocol == "wild" else _studio
    return choose(person, captures, config)


def camera_azimuth(view: View) -> float:
    """Angle of the camera to the person's left of the face's own direction, radians."""
    frame = view.frame
    head_from_world = (roma.rotvec_to_rotmat(frame.pose[0]) @ roma.rotvec_to_rotmat(frame.pose[1])).T
    direction = head_from_world @ (view.camera.centre - frame.translation)
    return float(torch.atan2(direction[0], direction[2]))


def _studio(person: str, captures: list[Capture], config: EvaluationConfig) -> PersonViews:
    rigs = [c for c in captures if len(c.cameras) > 1]  # a person may have clips of one camera as well
    home = min(rigs, key=lambda c: c.neutral.effort)
    enrolled = {shots: choose_views(home, max(1, shots)) for shots in config.shots}
    driving = rigs if config.sequences is None else rigs[: config.sequences]
    candidates = [(c, t) for c in driving for t in c.timesteps if c is not home or t != home.neutral.timestep]
    if not candidates:
        raise CaptureError(f"{person} has no frame but the neutral one: capture expressions to score.")
    unseen = [
        ScoredView(capture, capture.view(timestep, name))
        for number, (capture, timestep) in enumerate(_evenly(candidates, config.timesteps))
        for name in _cameras(capture, capture.frame(timestep), config.cameras, number)
    ]
    return PersonViews(person, captures, home, enrolled, unseen, _clip(captures, home, config.clip_frames))


def _wild(person: str, captures: list[Capture], config: EvaluationConfig) -> PersonViews:
    home = max(captures, key=lambda c: len(c.timesteps))
    name = next(iter(home.cameras))
    tested = sorted({t for t, _ in home.keys("test")})[-config.wild_frames :]
    if not tested:
        raise CaptureError(f"{home.folder} has no test frames (transforms_test.json): the last frames of a clip test.")
    enrolled = {shots: choose_views(home, max(1, shots)) for shots in config.shots}
    unseen = [ScoredView(home, home.view(t, name)) for t in _evenly(tested, config.timesteps * config.cameras)]
    clip = [ScoredView(home, home.view(t, name)) for t in tested[: config.clip_frames]]
    return PersonViews(person, captures, home, enrolled, unseen, clip)


def _cameras(capture: Capture, frame: Frame, count: int, number: int) -> list[str]:
    """Frontal, left and right camera, then others in turn, so that many timesteps see them all."""
    available = sorted(c for t, c in capture.keys() if t == frame.timestep)
    first = dict.fromkeys([capture.frontal_camera(frame), *capture.side_cameras(frame)])
    others = [name for name in available if name not in first]
    turn = number * max(1, count - len(first)) % max(1, len(others))
    return [*first, *others[turn:], *others[:turn]][:count]


def _clip(captures: list[Capture], home: Capture, length: int) -> list[ScoredView]:
    """The first timesteps of another sequence (or of the only one), as consecutive as can be, seen from the front."""
    others = [c for c in captures if c is not home and len(c.timesteps) > 1] or captures
    capture = min(others, key=lambda c: (c.timesteps[-1] - c.timesteps[0]) / len(c.timesteps))
    timesteps = capture.timesteps[:length]
    if len(timesteps) < 2:
        return []
    name = capture.frontal_camera(capture.frame(timesteps[0]))  # one camera for the whole clip
    available = set(capture.keys())
    return [ScoredView(capture, capture.view(t, name)) for t in timesteps if (t, name) in available]


def _evenly(items: list, count: int) -> list:
    """At most `count` items, evenly spread, the first and the last among them."""
    if count >= len(items):
        return items
    if count == 1:
        return [items[len(items) // 2]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
