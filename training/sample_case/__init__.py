"""The parts of the embedded sample case: a head, a glioma in it, and the scanner that sees both."""
