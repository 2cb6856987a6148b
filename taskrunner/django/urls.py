"""The addresses of the page: `path("tasks/", include("taskrunner.django.urls"))` in the project."""

from django.urls import re_path

from taskrunner.django.page import page

app_name = "taskrunner"
urlpatterns = [re_path(r"^(?P<place>.*)$", page, name="page")]
