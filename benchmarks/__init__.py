"""Every speed that this project claims, measured."""
