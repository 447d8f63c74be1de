"""The pieces of `training.simulate`: patients without masks, an annotator, rounds, and what came of them."""
