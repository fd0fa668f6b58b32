"""What the chapters of the book share: figures, trainings, measurements.

Nothing outside of this folder imports it, and it makes no promise of stability.
"""
