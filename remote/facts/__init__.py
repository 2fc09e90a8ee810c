"""What tables tell of runs that their rows do not hold: bests, money."""
