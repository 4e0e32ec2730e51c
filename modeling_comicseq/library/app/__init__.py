"""The app: search, pages, questions, reading order and a map, in a browser. `server.launch` starts it."""
