"""Training, reproduction and measurement; run from a checkout, never imported by the package."""
