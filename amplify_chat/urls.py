"""Django's own routes: the admin and the chat page. The hot routes stand above them, in `amplify_chat.asgi`."""

from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from accounts.login import FromProvider, SignInPage, SignOut, ToProvider
from chat.page import chat_page
from core.errors import BadRequest
from core.rest import request_id_of

admin.site.site_header = admin.site.site_title = "Amplify Chat"
admin.site.index_title = "Administration"

SIGN_IN = "chat/login.html"

urlpatterns = [
    path("", chat_page, name="chat"),
    path("login/", SignInPage.as_view(template_name=SIGN_IN), name="login"),
    path("login/institution/", ToProvider.as_view(template_name=SIGN_IN), name="oidc_authentication_init"),
    path("login/callback/", FromProvider.as_view(template_name=SIGN_IN), name="oidc_authentication_callback"),
    path("logout/", SignOut.as_view(), name="logout"),
    # The admin has no sign-in of its own: there is one page for it, with all the ways in.
    path("admin/login/", RedirectView.as_view(pattern_name="login", query_string=True)),
    path("admin/logout/", SignOut.as_view()),
    path("admin/", admin.site.urls),
    path("billing/", include("usage.billing.urls")),
    path("api/", include("usage.api.urls")),
    path("api/", include("accounts.api.urls")),  # the last: it answers whatever is left below /api/
    path("favicon.ico", RedirectView.as_view(url=static("chat/icon.svg"))),
]


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """The answer for an address that is nothing here, in the shape that clients read."""
    return JsonResponse({"error": "Not found", "path": request.path, "code": "not_found"}, status=404)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Django's own suspicions, of the `Host` header say, which come before any view of ours."""
    error = BadRequest("Django refused this request. Check its Host header and its cookies.")
    return JsonResponse(error.body(request_id_of(request)), status=error.status)


def crashed(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"error": "Internal server error", "code": "internal"}, status=500)


handler400 = bad_request
handler404 = not_found
handler500 = crashed
