"""The page: a WSGI application that shows a home in a browser, and answers other programs."""
