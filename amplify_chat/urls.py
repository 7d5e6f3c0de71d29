"""Django's own routes: the admin and the chat page. The hot routes stand above them, in `amplify_chat.asgi`."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, JsonResponse
from django.templatetags.static import static
from django.urls import path
from django.views.generic import RedirectView

from chat.page import chat_page

admin.site.site_header = admin.site.site_title = "Amplify Chat"
admin.site.index_title = "Administration"

urlpatterns = [
    path("", chat_page, name="chat"),
    path("login/", LoginView.as_view(template_name="chat/login.html"), name="login"),
    path("logout/", LogoutView.as_view(next_page="login"), name="logout"),
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url=static("chat/icon.svg"))),
]


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """The answer for an address that is nothing here, in the shape that clients read."""
    return JsonResponse({"error": "Not found", "path": request.path, "code": "not_found"}, status=404)


def crashed(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"error": "Internal server error", "code": "internal"}, status=500)


handler404 = not_found
handler500 = crashed
