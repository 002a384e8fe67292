"""The fusion chain: radiomics, deep features and the image model's own score in one calibrated classifier."""
