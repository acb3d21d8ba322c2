"""``python -m bench``.

It starts the command line and must not know any verb.
"""

from bench.cli.app import entry

if __name__ == "__main__":
    entry()
