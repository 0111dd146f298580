"""What every request passes on its way in and out, whichever route it takes: limits, guards, ids, logs, measures."""
