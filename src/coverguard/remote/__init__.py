"""What is asked over HTTP: the only home of httpx."""
