"""Models that came from outside run here: each in a process of its own, behind walls, within bounds of memory and time."""
