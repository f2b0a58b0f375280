"""How a person moves: action scores, hidden tongue and lip motion, gaze, blinks and head turns at 25 frames a second.

Every clip begins at rest: mouth closed, eyes open, facing the frontal camera. All of it is a function of the person's
seed and the sequence's name.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from realhead.capture.openheads.expressions import FACES, HIDDEN, SCRIPTS, SPEECH, VISEMES, expand
from realhead.head.actions import ARKIT_NAMES

FPS = 25
NAMES = {name: i for i, name in enumerate((*ARKIT_NAMES, *HIDDEN))}


@dataclass(frozen=True)
class Habits:
    """How one person differs from others in motion.

    strength [57]: factor on each action (left and right differ); tempo: factor on speed; blinks: per second; gaze: how
    far the eyes wander; head: how far the head turns; rest: offset of the head at rest (axis-angle, radians) [3].
    """

    strength: np.ndarray
    tempo: float
    blinks: float
    gaze: float
    head: float
    rest: np.ndarray

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Habits:
        """Draws a person's habits."""
        strength = np.exp(rng.normal(0, 0.16, len(NAMES)))
        lean = rng.normal(0, 0.09)  # people move one side of the mouth more than the other
        for name, i in NAMES.items():
            side = 1 if name.endswith("Left") else -1 if name.endswith("Right") else 0
            if "Blink" not in name and "Look" not in name:
                strength[i] *= 1 + side * lean
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            strength[NAMES[name]] = rng.uniform(0.97, 1.03)
        return cls(
            strength.clip(0.55, 1.35), float(rng.uniform(0.85, 1.2)), float(rng.uniform(0.15, 0.45)),
            float(rng.uniform(0.6, 1.3)), float(rng.uniform(0.5, 1.4)), rng.normal(0, 0.012, 3),
        )  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """Motion over time: scores [T, 52], hidden [T, 5], root and neck rotations [T, 3] (radians), translation [T, 3]."""

    scores: np.ndarray
    hidden: np.ndarray
    root: np.ndarray
    neck: np.ndarray
    translation: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def expressive_timesteps(self, count: int) -> list[int]:
        """Timestep 0 and the `count` - 1 moments most different from it and from each other, in order of time."""
        weight = np.ones(len(ARKIT_NAMES))
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            weight[ARKIT_NAMES.index(name)] = 0.15  # else a chance blink, the largest motion of all, is always chosen
        features = np.concatenate([self.scores * weight, self.hidden, self.neck * 0.8, self.root * 0.8], 1)
        chosen = [0]
        distance = np.linalg.norm(features - features[0], axis=1)
        while len(chosen) < min(count, len(self)):
            chosen.append(int(distance.argmax()))
            distance = np.minimum(distance, np.linalg.norm(features - features[chosen[-1]], axis=1))
        return sorted(chosen)


def perform(sequence: str, habits: Habits, seed: int, frames: int | None = None) -> Clip:
    """Lets a person perform a sequence.

    Args:
        sequence: A name out of SCRIPTS, or any other name: a free performance mixing everything.
        habits: The person's habits.
        seed: The person's seed; each sequence draws its own numbers from it.
        frames: Length in frames; default: as long as the script takes (5 to 9 s).
    """
    rng = np.random.default_rng([seed, zlib.crc32(sequence.encode())])
    tracks = []
    while not tracks or (frames is not None and sum(map(len, tracks)) < frames):
        speech = sequence.startswith("SEN") or (sequence not in SCRIPTS and rng.random() < 0.4)
        tracks.append(_speak(rng, habits) if speech else _act(_script(sequence, rng), rng, habits))
        if frames is None:
            break
    values = np.concatenate(tracks)[:frames]
    values = values * habits.strength
    _add_lip_play(values, rng)
    num = len(values)
    start = np.clip(np.arange(num) / (0.4 * FPS), 0, 1)  # nothing moves before the neutral frame is over
    _add_blinks(values, rng, habits)
    _add_gaze(values, rng, habits, start)
    scores, hidden = values[:, : len(ARKIT_NAMES)].clip(0, 1), values[:, len(ARKIT_NAMES) :].clip(-1, 1)
    turn = _wander(rng, num, 3) * np.array([0.10, 0.17, 0.07]) * habits.head * start[:, None]
    root = turn * 0.3 + habits.rest
    neck = turn * 0.7
    translation = _wander(rng, num, 3) * np.array([0.004, 0.003, 0.006]) * start[:, None]
    return Clip(*(a.astype(np.float32) for a in (scores, hidden, root, neck, translation)))


def _script(sequence: str, rng: np.random.Generator) -> list[str]:
    faces = list(SCRIPTS.get(sequence) or [n for n in FACES if n != "neutral"])
    rng.shuffle(faces)
    return faces[:9] if sequence not in SCRIPTS else faces


def _act(faces: list[str], rng: np.random.Generator, habits: Habits) -> np.ndarray:
    """Goes from face to face, partly through rest: [T, 57]."""
    keys, times = [np.zeros(len(NAMES))], [0.0]
    clock = 0.35
    for name in faces:
        keys.append(keys[-1] * 0.0 if rng.random() < 0.5 else keys[-1])
        times.append(clock)
        face = expand(FACES[name], NAMES) * np.exp(rng.normal(0, 0.08, len(NAMES))) * rng.uniform(0.82, 1.12)
        clock += rng.uniform(0.28, 0.5) / habits.tempo
        keys.append(face)
        times.append(clock)
        clock += rng.uniform(0.15, 0.45) / habits.tempo
        keys.append(face * rng.uniform(0.85, 1.05))
        times.append(clock)
        clock += rng.uniform(0.2, 0.35) / habits.tempo
    keys.append(np.zeros(len(NAMES)))
    times.append(clock + 0.3)
    frame_times = np.arange(int((clock + 0.5) * FPS)) / FPS
    segment = np.clip(np.searchsorted(times, frame_times, side="right") - 1, 0, len(times) - 2)
    times, keys = np.array(times), np.array(keys)
    t = (frame_times - times[segment]) / np.maximum(times[segment + 1] - times[segment], 1e-6)
    t = np.clip(t, 0, 1)
    t = t**3 * (10 - 15 * t + 6 * t * t)  # minimum jerk
    return keys[segment] * (1 - t[:, None]) + keys[segment + 1] * t[:, None]


def _speak(rng: np.random.Generator, habits: Habits) -> np.ndarray:
    """Speaks the sentence: shapes follow each other quickly and run into each other, [T, 57]."""
    rows = [np.zeros((9, len(NAMES)))]
    mood = expand({"mouthSmile": rng.uniform(0, 0.2), "browInnerUp": rng.uniform(0, 0.3)}, NAMES)
    text = SPEECH if rng.random() < 0.7 else "".join(rng.permutation(list(SPEECH)))
    for letter in text:
        length = max(2, round(rng.uniform(0.07, 0.13) * FPS / habits.tempo)) + (2 if letter in "aou" else 0)
        shape = expand(VISEMES[letter], NAMES) * rng.uniform(0.7, 1.15) + mood
        rows.append(np.repeat(shape[None], length, 0))
    rows.append(np.zeros((8, len(NAMES))))
    values = gaussian_filter1d(np.concatenate(rows), 1.1, axis=0, mode="nearest")
    values[:4] = 0
    return values


def _wander(rng: np.random.Generator, num: int, channels: int) -> np.ndarray:
    """Slow random motion of about unit size, zero mean over time, [T, channels]."""
    t = np.arange(num)[:, None] / FPS
    out = np.zeros((num, channels))
    for frequency in (0.13, 0.29, 0.55):
        phase = rng.uniform(0, 2 * np.pi, channels)
        pace, size = rng.uniform(0.8, 1.25, channels), rng.uniform(0.3, 1, channels)
        out += np.sin(2 * np.pi * frequency * pace * t + phase) * size
    return out - out[0] * np.exp(-t / 2)


def _add_lip_play(values: np.ndarray, rng: np.random.Generator) -> None:
    """Lips flare and skew a little with whatever the mouth does, differently each time."""
    mouth = [i for n, i in NAMES.items() if n.startswith(("mouth", "jaw"))]
    effort = np.clip(np.abs(values[:, mouth]).sum(1, keepdims=True), 0, 1.2)
    play = rng.normal(0, 1, (len(values) + 60, 2))
    play = gaussian_filter1d(play, 5.0, axis=0)[30 : 30 + len(values)] / 0.238  # unit spread after this filter
    values[:, [NAMES["lipFlare"], NAMES["lipSkew"]]] += np.array([0.30, 0.45]) * effort * play


def _add_blinks(values: np.ndarray, rng: np.random.Generator, habits: Habits) -> None:
    left, right = NAMES["eyeBlinkLeft"], NAMES["eyeBlinkRight"]
    shape = np.array([0.25, 0.8, 1.0, 0.75, 0.35, 0.1])
    frame = int(rng.uniform(0.6, 2.5) * FPS)
    while frame < len(values) - len(shape):
        for column in (left, right):
            window = values[frame : frame + len(shape), column]
            np.maximum(window, shape * habits.strength[column], out=window)
        frame += max(12, int(rng.exponential(1 / habits.blinks) * FPS))


def _add_gaze(values: np.ndarray, rng: np.random.Generator, habits: Habits, start: np.ndarray) -> None:
    """Fixations and quick jumps; positive yaw is the person's left, positive pitch is up."""
    num = len(values)
    gaze = np.zeros((num, 2))
    frame = int(0.5 * FPS)
    while frame < num:
        length = int(rng.uniform(0.4, 1.8) * FPS)
        gaze[frame : frame + length] = rng.normal(0, [0.28, 0.16]) * habits.gaze * (rng.random() < 0.75)
        frame += length
    gaze = gaussian_filter1d(gaze, 0.7, axis=0) * start[:, None]
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        values[:, NAMES[f"eyeLookOut{side}"]] += np.clip(gaze[:, 0] * sign, 0, 0.8)
        values[:, NAMES[f"eyeLookIn{side}"]] += np.clip(-gaze[:, 0] * sign, 0, 0.8)
        values[:, NAMES[f"eyeLookUp{side}"]] += np.clip(gaze[:, 1], 0, 0.6)
        values[:, NAMES[f"eyeLookDown{side}"]] += np.clip(-gaze[:, 1], 0, 0.6)
