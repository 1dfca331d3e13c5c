"""How a verified model package is run; one module for each format."""
