"""Instruments: their design, motion and drawing."""
