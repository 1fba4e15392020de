"""A Django app with its own user model. Users log in with their e-mail address."""
