"""The chat page at `/`, for whoever is signed in."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt  # nothing is done here for a POST but to refuse it, as JSON: whoever sends one is a program
def chat_page(request: HttpRequest) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        answer = {"error": "Not found. Ask with POST /chat.", "path": request.path, "code": "not_found"}
        return JsonResponse(answer, status=404)
    return _page(request)


@never_cache
@login_required
def _page(request: HttpRequest) -> HttpResponse:
    return render(request, "chat/page.html")
