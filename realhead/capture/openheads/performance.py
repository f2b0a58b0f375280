"""A person in motion before the cameras: parameters, true vertices, hair and light of each timestep."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from realhead.capture.capture import Frame
from realhead.capture.openheads.lighting import Lighting
from realhead.capture.openheads.motion import Clip
from realhead.capture.openheads.people import Person, atlas_of
from realhead.capture.openheads.render import LitScene, Strands, light_scene
from realhead.head.actions import scores_to_parameters


@dataclass
class Performance:
    """Turns a clip of a person into frames and lit scenes.

    Attributes:
        person: Who moves.
        clip: The motion.
        light: The light they stand in.
    """

    person: Person
    clip: Clip
    light: Lighting
    _strand_ambient: np.ndarray | None = field(default=None, repr=False)

    def frame(self, timestep: int) -> Frame:
        """True parameters at a timestep, as far as the head has parameters for the motion."""
        scores = torch.from_numpy(self.clip.scores[timestep])
        expression, pose = scores_to_parameters(self.person.head, scores)
        pose[0] = torch.from_numpy(self.clip.root[timestep])
        pose[1] = torch.from_numpy(self.clip.neck[timestep])
        return Frame(timestep, self.person.shape, expression, pose, torch.from_numpy(self.clip.translation[timestep]))

    def vertices(self, timestep: int) -> tuple[np.ndarray, np.ndarray]:
        """True vertices of head and parts [V + K, 3] and posed_from_canonical of the joints [5, 4, 4], float32."""
        person, frame = self.person, self.frame(timestep)
        parameters = frame.parameters()
        with torch.no_grad():
            canonical = person.head.canonical(
                parameters["shape"], parameters["expression"], parameters["pose"]
            )[0].numpy()  # fmt: skip
            transforms = person.head.joint_transforms(
                parameters["shape"], parameters["expression"], parameters["pose"], parameters["translation"]
            )[0].numpy()  # fmt: skip
        offset = person.quirks.offset(frame.expression.numpy(), float(frame.pose[2, 0]), self.clip.hidden[timestep])
        canonical = np.concatenate([canonical + person.quirks.asymmetry + offset, person.neutral[len(canonical) :]])
        blended = np.tensordot(person.weights, transforms[:, :3], 1)
        posed = np.einsum("vrc,vc->vr", blended[..., :3], canonical) + blended[..., 3]
        return posed.astype(np.float32), transforms.astype(np.float32)

    def scene(self, timestep: int) -> LitScene:
        """The lit scene at a timestep."""
        person = self.person
        vertices, transforms = self.vertices(timestep)
        skull = transforms[1]
        hair = person.hair
        points = hair.posed(person.neutral, vertices, atlas_of(person.head).faces, skull)
        strands = Strands(points, hair.colors, hair.widths, hair.starts, hair.gloss)
        scene = light_scene(person.surface, vertices, strands, self.light, skull[:3, :3], self._strand_ambient)
        self._strand_ambient = scene.strand_ambient
        return scene
