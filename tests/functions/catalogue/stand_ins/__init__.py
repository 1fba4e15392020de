"""Stand-ins for official weights that are not available everywhere. Their answers are known."""
