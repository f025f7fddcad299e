"""The WSGI application that granian serves."""

import os
import threading

from django.core.wsgi import get_wsgi_application

from octollm import health
from octollm.embedded import tether

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "octollm.settings")
# granian's workers are not the supervisor's children: nobody else tells them.
tether.hold()
application = get_wsgi_application()

# What /ready asks, asked now: the first request need not wait until the rules are
# compiled and the connections made. A check that fails here is told by /ready.
threading.Thread(target=health.check_all, name="warm-up", daemon=True).start()
