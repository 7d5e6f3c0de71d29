"""Django's own routes: the admin and the chat page. The hot routes stand above them, in `amplify_chat.asgi`."""

from django.contrib import admin
from django.urls import path

from chat.page import chat_page

urlpatterns = [
    path("", chat_page, name="chat"),
    path("admin/", admin.site.urls),
]
