"""Noise: gaussian, shot, impulse, speckle."""
