"""Keys of `results`: what is up to the site in the objects that the node makes."""

from __future__ import annotations

import unicodedata

from pydantic import Field, field_validator

from dicom_node.config_section import Section
from dicom_node.result_words import DISCLAIMER, LONGEST_DISCLAIMER, Words

SCRIPTS = ("LATIN ", "GREEK ", "CYRILLIC ", "ARMENIAN ", "GEORGIAN ")
"""How the Unicode names of letters begin that the face of the pictures has (`results/lettering.py`)."""


class Results(Section):
    """What the results say besides the findings."""

    disclaimer: str = Field(
        default=DISCLAIMER,
        min_length=8,
        max_length=LONGEST_DISCLAIMER,
        description="The sentence at the foot of each Secondary Capture and each page: that this is the result of an "
        "algorithm, and what is asked of who reads it. In Latin, Greek, Cyrillic, Armenian or "
        "Georgian letters.",
    )
    pdf_names_patient: bool = Field(
        default=True,
        description="Whether the page of an encapsulated PDF bears name, ID and birth date of the patient, accession "
        "number and study date. A page that is printed without them belongs to nobody. Pictures never bear them.",
    )

    @field_validator("disclaimer")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        words = " ".join(value.split())
        if len(words) < 8 or not words.isprintable():
            raise ValueError("must be a sentence of 8 characters or more, all of which can be printed")
        if not all(unicodedata.name(letter, "").startswith(SCRIPTS) for letter in words if letter.isalpha()):
            raise ValueError(
                "must be written in Latin, Greek, Cyrillic, Armenian or Georgian letters: pictures have no others"
            )
        return words

    @property
    def words(self) -> Words:
        return Words(self.disclaimer, self.pdf_names_patient)
