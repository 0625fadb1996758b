"""`python -m mirrax` is the command `mirrax`."""

from mirrax.cli import main

if __name__ == "__main__":
    main()
