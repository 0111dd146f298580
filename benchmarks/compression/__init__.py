"""What does compression bring, counted, timed and trained? Beside the figures that were wanted."""
