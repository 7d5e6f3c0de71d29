#!/usr/bin/env python
"""Django's command line: `manage.py serve`, `migrate`, `create_api_key`, …"""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amplify_chat.settings")
    from django.core.management import execute_from_command_line

    from core.errors import ConfigurationError

    try:
        execute_from_command_line(sys.argv)
    except ConfigurationError as error:
        sys.exit(f"Cannot start: {error}")
