"""What people call a modality, and the DICOM code that decides about intensity windows."""

from __future__ import annotations

import re

_CODES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PET": "PT", "PT": "PT", "ULTRASOUND": "US", "US": "US"}


def modality_code(text: str) -> str:
    """The DICOM code of a modality as a manifest words it: "MR T1" is "MR", "PET (FDG, SUV x100)" is "PT".

    "" where no code decides anything (photographs, microscopy, X-ray), and where several are named ("CT, MR"): the
    image itself must tell then.
    """
    names = re.sub(r"\(.*?\)", "", text.upper()).split(",")
    codes = {_CODES.get(next(iter(name.split()), ""), "") for name in names}
    return codes.pop() if len(codes) == 1 else ""
