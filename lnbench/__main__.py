"""`python -m lnbench`, as torchrun starts it."""

from lnbench.cli import main

main()
