"""Tables, figures and pages of the studies."""
