"""The echo server behind the proxy: the suite's own testee, which speaks permessage-deflate.

Listens on a free port of 127.0.0.1 and prints it. Runs in the suite's Python 2.7.
"""

from __future__ import print_function

import sys

from autobahntestsuite import choosereactor  # noqa: F401, has to come before the reactor

from autobahntestsuite.testee import TesteeServerFactory
from twisted.internet import reactor

# Without a URL the server does not compare the Host field with its port.
port = reactor.listenTCP(0, TesteeServerFactory(None), interface="127.0.0.1")
print(port.getHost().port)
sys.stdout.flush()
reactor.run()
