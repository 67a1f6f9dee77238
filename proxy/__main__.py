"""``python -m proxy`` and ``checkout-proxy``: the command, which only its own process imports."""


def main() -> None:
    """Run the command."""
    # Not above: a process that is spawned imports this module again, and has no command to run.
    from proxy.cli import main

    main()


if __name__ == "__main__":
    main()
