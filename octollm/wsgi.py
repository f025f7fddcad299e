"""The WSGI application that granian serves."""

import os

from django.core.wsgi import get_wsgi_application

from octollm.embedded import tether

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "octollm.settings")
# granian's workers are not the supervisor's children: nobody else tells them.
tether.hold()
application = get_wsgi_application()
