"""Measurements, each against its floor or its peers, kept as ratios in bench/results."""
