"""Site: what every Python of a served proxy runs first, so that its disk can fail."""

from tests.crash import vfs

vfs.install_from_environment()
