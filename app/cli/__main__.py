"""`python -m app.cli` is `trainyard`: how `serve` starts its children, whatever lies on the PATH."""

from app.cli import main

main()
