"""Photographs, procedural stimuli, and image files."""
