"""``python -m pgqueue``."""

from pgqueue.ui.cli import main

if __name__ == "__main__":
    main()
