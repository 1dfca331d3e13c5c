"""How volume and density of the lungs changed since the latest earlier chest CT of the patient."""
