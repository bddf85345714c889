"""What the shop stores."""

from django.db import models


class Order(models.Model):
    number = models.IntegerField(unique=True)
    state = models.CharField(max_length=20, default="new")

    def __str__(self):
        return f"order {self.number}"


class Mail(models.Model):
    order = models.ForeignKey(Order, on_delete=models.CASCADE)
    subject = models.CharField(max_length=100)

    def __str__(self):
        return self.subject
