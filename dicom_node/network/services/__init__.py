"""One module for each DIMSE service; each exports SERVICE."""
