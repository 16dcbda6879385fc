"""Models: from an image to its representation."""
