"""The WSGI application of ``octollm reflex serve``."""

import os
import threading

from django.core.wsgi import get_wsgi_application

from octollm.embedded import tether

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reflex.serving_settings")
# Whoever starts it under a supervisor ends with that one.
tether.hold()
application = get_wsgi_application()

from reflex.screening import is_engine_ready  # noqa: E402  # it needs Django

# The first request need not wait until the rules are compiled.
threading.Thread(target=is_engine_ready, name="warm-up", daemon=True).start()
