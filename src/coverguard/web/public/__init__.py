"""The public report form and its JSON twin: the only process that may face the internet."""
