"""Where object bytes live; the backend is chosen by URL scheme."""
