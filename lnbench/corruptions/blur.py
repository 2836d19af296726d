"""Blur: gaussian, defocus, glass, motion, zoom."""
