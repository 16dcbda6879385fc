import sys


def main() -> int:
    """Run the command line; Ctrl-C ends it with one line, also while it imports JAX."""
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        print("plenoptax: interrupted; nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
