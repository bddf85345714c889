"""The addresses of the shop."""

from django.contrib import admin
from django.urls import path

from shop import views

urlpatterns = [
    path("buy/<int:number>", views.buy),
    path("send/<int:number>", views.send),
    path("admin/", admin.site.urls),
]
