"""``python -m proxy`` is the command ``checkout-proxy``."""

from proxy.cli import main

if __name__ == "__main__":
    main()
