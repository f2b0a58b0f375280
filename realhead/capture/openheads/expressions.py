"""The repertoire of faces: named mixtures of ARKit actions, the six sequences as scripts, and speech.

Names without a side mean both sides. Five more names are motion that no tracker sees: tongueUp, tongueSide (positive to
the person's left), lipSuck (lips drawn in over the teeth), lipFlare (lips turned out, away from the teeth) and lipSkew
(upper and lower lip shifted against each other, one side of the mouth higher).
"""

from __future__ import annotations

import numpy as np

HIDDEN = ("tongueUp", "tongueSide", "lipSuck", "lipFlare", "lipSkew")
"""Motion of the tongue and lips that is in the pictures but not in the tracked parameters."""

FACES: dict[str, dict[str, float]] = {
    "neutral": {},
    "shout": {"jawOpen": 0.95, "mouthStretch": 0.45, "browInnerUp": 0.5, "eyeWide": 0.6, "mouthLowerDown": 0.5,
              "mouthUpperUp": 0.45, "noseSneer": 0.25},
    "roar": {"jawOpen": 0.75, "mouthStretch": 0.3, "browDown": 0.8, "eyeSquint": 0.5, "noseSneer": 0.6,
             "mouthLowerDown": 0.6, "mouthUpperUp": 0.6},
    "laugh": {"jawOpen": 0.5, "mouthSmile": 0.95, "cheekSquint": 0.8, "eyeSquint": 0.6, "mouthUpperUp": 0.3,
              "mouthDimple": 0.3, "mouthLowerDown": 0.25},
    "laugh_eyes_shut": {"jawOpen": 0.4, "mouthSmile": 1.0, "cheekSquint": 1.0, "eyeBlink": 0.9, "mouthUpperUp": 0.4},
    "chuckle": {"jawOpen": 0.18, "mouthSmile": 0.75, "cheekSquint": 0.5, "mouthUpperUp": 0.25},
    "smile": {"mouthSmile": 0.75, "cheekSquint": 0.35, "mouthDimple": 0.35},
    "grin": {"mouthSmile": 0.85, "mouthUpperUp": 0.45, "mouthLowerDown": 0.55, "cheekSquint": 0.5, "jawOpen": 0.05},
    "smirk": {"mouthSmileLeft": 0.75, "mouthDimpleLeft": 0.4, "browOuterUpLeft": 0.4},
    "disgust": {"noseSneer": 1.0, "mouthUpperUp": 0.7, "browDown": 0.7, "mouthFrown": 0.2, "eyeSquint": 0.5},
    "disgust_open": {"noseSneer": 0.9, "mouthUpperUp": 0.6, "browDown": 0.6, "jawOpen": 0.3, "mouthLowerDown": 0.5,
                     "eyeSquint": 0.6, "mouthStretch": 0.3},
    "happy": {"mouthSmile": 1.0, "cheekSquint": 0.7, "jawOpen": 0.14, "mouthUpperUp": 0.35, "browInnerUp": 0.2},
    "delight": {"mouthSmile": 0.8, "jawOpen": 0.4, "browInnerUp": 0.7, "browOuterUp": 0.7, "eyeWide": 0.6},
    "pucker": {"mouthPucker": 0.95},
    "kiss": {"mouthPucker": 1.0, "cheekSquint": 0.2},
    "funnel": {"mouthFunnel": 0.4, "mouthPucker": 0.8, "jawOpen": 0.12},
    "press": {"mouthPress": 0.8, "mouthRollLower": 0.3, "mouthRollUpper": 0.3, "lipSuck": 0.3},
    "roll_in": {"mouthRollLower": 0.9, "mouthRollUpper": 0.9, "lipSuck": 1.0},
    "lips_left": {"mouthLeft": 0.9},
    "lips_right": {"mouthRight": 0.9},
    "frown": {"mouthFrown": 0.8, "mouthPress": 0.5, "browDown": 0.3},
    "shrug": {"mouthShrugLower": 0.7, "mouthShrugUpper": 0.6, "browInnerUp": 0.5},
    "bare_teeth": {"mouthUpperUp": 0.9, "mouthLowerDown": 0.9, "mouthStretch": 0.5, "lipFlare": 0.6},
    "puff": {"cheekPuff": 0.95, "mouthPress": 0.3},
    "jaw_half": {"jawOpen": 0.5},
    "jaw_wide": {"jawOpen": 1.0, "browInnerUp": 0.3},
    "jaw_left": {"jawLeft": 0.9, "jawOpen": 0.12},
    "jaw_right": {"jawRight": 0.9, "jawOpen": 0.12},
    "jaw_forward": {"jawForward": 0.9, "jawOpen": 0.1},
    "chew": {"jawOpen": 0.2, "jawLeft": 0.4, "mouthPress": 0.3},
    "tongue_out": {"jawOpen": 0.45, "tongueOut": 1.0, "mouthLowerDown": 0.2},
    "tongue_tip": {"jawOpen": 0.22, "tongueOut": 0.55},
    "tongue_up": {"jawOpen": 0.6, "tongueUp": 1.0, "mouthUpperUp": 0.2},
    "tongue_left": {"jawOpen": 0.4, "tongueOut": 0.7, "tongueSide": 1.0, "mouthLeft": 0.2},
    "tongue_right": {"jawOpen": 0.4, "tongueOut": 0.7, "tongueSide": -1.0, "mouthRight": 0.2},
    "wink_left": {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.6, "mouthSmileLeft": 0.4},
    "eyes_shut": {"eyeBlink": 1.0},
    "eyes_tight": {"eyeBlink": 1.0, "eyeSquint": 0.8, "browDown": 0.5, "noseSneer": 0.4},
    "brows_up": {"browInnerUp": 1.0, "browOuterUp": 0.9},
    "worry": {"browInnerUp": 1.0, "browDown": 0.3, "mouthFrown": 0.3},
    "surprise": {"jawOpen": 0.45, "browInnerUp": 1.0, "browOuterUp": 1.0, "eyeWide": 1.0, "mouthFunnel": 0.1},
}  # fmt: skip

VISEMES: dict[str, dict[str, float]] = {
    "a": {"jawOpen": 0.5, "mouthLowerDown": 0.2},
    "e": {"jawOpen": 0.2, "mouthStretch": 0.3, "mouthSmile": 0.25, "mouthLowerDown": 0.35},
    "i": {"jawOpen": 0.08, "mouthSmile": 0.4, "mouthStretch": 0.3, "mouthLowerDown": 0.35, "mouthUpperUp": 0.15},
    "o": {"jawOpen": 0.32, "mouthFunnel": 0.35, "mouthPucker": 0.55},
    "u": {"jawOpen": 0.12, "mouthPucker": 0.85, "mouthFunnel": 0.2},
    "m": {"mouthPress": 0.6, "mouthRollLower": 0.35, "mouthRollUpper": 0.35, "lipSuck": 0.3},
    "f": {"mouthRollLower": 0.6, "mouthUpperUp": 0.3, "jawOpen": 0.06, "lipSuck": 0.4},
    "l": {"jawOpen": 0.26, "tongueUp": 0.7},
    "s": {"mouthStretch": 0.25, "mouthLowerDown": 0.35, "mouthUpperUp": 0.25, "jawOpen": 0.04},
    "S": {"mouthFunnel": 0.4, "mouthPucker": 0.45, "jawOpen": 0.08, "mouthUpperUp": 0.2, "lipFlare": 0.8},
    "T": {"jawOpen": 0.16, "tongueOut": 0.3, "mouthLowerDown": 0.2},
    "k": {"jawOpen": 0.2},
    "_": {},
}

SCRIPTS: dict[str, tuple[str, ...]] = {
    "EMO-1-shout+laugh": ("shout", "roar", "chuckle", "laugh", "laugh_eyes_shut", "surprise", "grin", "brows_up"),
    "EMO-4-disgust+happy": ("disgust", "disgust_open", "eyes_tight", "smile", "happy", "delight", "wink_left", "worry",
                            "kiss"),
    "EXP-4-lips": ("pucker", "funnel", "roll_in", "lips_left", "lips_right", "frown", "shrug", "bare_teeth", "smirk",
                   "press", "puff", "smile", "brows_up", "kiss"),
    "EXP-8-jaw-1": ("jaw_half", "jaw_wide", "jaw_left", "jaw_right", "jaw_forward", "chew", "eyes_shut", "jaw_wide"),
    "EXP-6-tongue-1": ("tongue_tip", "tongue_out", "tongue_left", "tongue_right", "tongue_up", "jaw_half"),
    "SEN-01-cramp_small_danger": (),
}  # fmt: skip
"""Sequences after NeRSemble's names; the sentence is spoken, the others go through their faces in any order."""

SPEECH = "kkam_smol_elkeS_u_mas_Tak_fala_Si_o_el_ae_af_u_mo_li"
"""Mouth shapes of the sentence (one letter each, see VISEMES); roughly its sounds and then a few contrasts."""


def expand(face: dict[str, float], names: dict[str, int]) -> np.ndarray:
    """A face as a vector over `names` (action -> column); names without a side set both."""
    out = np.zeros(len(names))
    for action, value in face.items():
        columns = [names[action]] if action in names else [names[action + side] for side in ("Left", "Right")]
        out[columns] = value
    return out
