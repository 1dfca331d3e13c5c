"""The processes that the supervisor starts; each module is one process and composes only what it needs."""
