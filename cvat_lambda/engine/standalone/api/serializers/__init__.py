"""What is read and written, as CVAT's clients name it."""
