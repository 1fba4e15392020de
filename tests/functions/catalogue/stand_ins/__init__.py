"""Stand-ins for official weights that cannot be had everywhere, with answers that are known."""
