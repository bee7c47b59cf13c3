"""Sums of spherical waves over a planar array: coarse search, joint fit, and what part of the array each wave reaches.

Estimators, the canonical frame and the wavefield model all stand on it. It knows arrays as rows, columns and element
spacing in wavelengths, and nothing else.
"""
