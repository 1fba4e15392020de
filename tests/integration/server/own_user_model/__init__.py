"""A Django app with a user model of its own: users are named by their e-mail address."""
