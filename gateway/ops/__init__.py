"""The office: the browser's page and door, the HTTP API, metrics and logs."""
