"""Model packages that ship with the node."""
