"""The machines that stages run on, and whether they are ready."""
