"""Operators and eigensolvers; nothing here knows of images."""
