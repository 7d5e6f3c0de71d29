"""What is below `/api/`. Addresses end in a slash; the door adds it for who leaves it out."""

from django.urls import path, re_path

from accounts.api import views

urlpatterns = [
    path("me/", views.MeView.as_view()),
    path("keys/", views.KeysView.as_view()),
    path("keys/<uuid:key_id>/", views.KeyView.as_view()),
    path("keys/<uuid:key_id>/rotate/", views.KeyRotationView.as_view()),
    path("keys/<uuid:key_id>/revoke/", views.KeyRevocationView.as_view()),
    path("groups/", views.GroupsView.as_view()),
    path("groups/<str:group_id>/", views.GroupView.as_view()),
    path("groups/<str:group_id>/members/<str:user_id>/", views.MemberView.as_view()),
    path("accounts/", views.AccountsView.as_view()),
    path("schema/", views.SchemaView.as_view(), name="api-schema"),
    path("docs/", views.DocsView.as_view(url_name="api-schema"), name="api-docs"),
    re_path("", views.NoSuchAddress.as_view()),
]
