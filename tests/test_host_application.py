"""The host application: models, views, extensions and errors of its own beside ours."""
