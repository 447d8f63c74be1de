"""The LGG dataset, on which most recipes train."""

from __future__ import annotations

LICENCE = (
    "CC BY-NC-SA 4.0, as the training data: non-commercial research use. Images: TCGA-LGG, The Cancer Imaging "
    "Archive (Pedano et al. 2016, doi:10.7937/K9/TCIA.2016.L4LTD3TK); masks: Buda, Saha, Mazurowski 2019, "
    "doi:10.1016/j.compbiomed.2019.05.002"
)
"""What weights trained on it carry on."""

PREFIX = "TCGA_"
"""What its cases' names begin with."""
