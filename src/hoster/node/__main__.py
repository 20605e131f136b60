"""``python -m hoster.node`` is ``hoster-node``."""

from hoster.node.cli import main

main()
