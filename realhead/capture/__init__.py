"""Captures on disk: cameras, reader and writer."""

from realhead.capture.camera import Camera
from realhead.capture.capture import Capture, CaptureSet, Frame, View
from realhead.capture.writer import CaptureWriter

__all__ = ["Camera", "Capture", "CaptureSet", "CaptureWriter", "Frame", "View"]
