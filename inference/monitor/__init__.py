"""Statistics over what models said: of one series against another answer, and of many."""
