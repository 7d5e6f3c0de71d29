"""This app stands first in INSTALLED_APPS, so that its reactor is there before Daphne looks for one."""

from django.apps import AppConfig

from amplify_chat.serving.reactor import install_reactor

install_reactor()


class AmplifyChatConfig(AppConfig):
    name = "amplify_chat"
