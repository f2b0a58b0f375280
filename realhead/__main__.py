"""`python -m realhead`: the same as the `realhead` command."""

from realhead.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
