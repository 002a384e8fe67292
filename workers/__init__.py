"""The Celery side of the parotid screener: stages that read, segment and encode."""
