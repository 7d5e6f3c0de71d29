"""Cookies that keep to the way they came."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin


class SecureCookies(MiddlewareMixin):
    """What is set over https goes back over https alone; on http://localhost cookies work as they are.

    Instead of SESSION_COOKIE_SECURE, which would have to be set right in each place.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response
