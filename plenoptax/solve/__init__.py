"""The loop that every method of synthesis shares."""
