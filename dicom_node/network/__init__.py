"""Everything that speaks the DICOM upper layer; the only package that imports pynetdicom."""
