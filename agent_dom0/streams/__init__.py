"""What all fronts share: guests, their streams, and whether and how they sound."""
