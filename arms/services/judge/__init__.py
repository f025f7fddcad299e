"""The judge: computes what can be computed of each criterion, and never guesses."""
