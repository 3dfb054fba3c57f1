"""`python -m kalibre` is the same as `kalibre`."""

from kalibre.cli.app import main

if __name__ == "__main__":
    main()
