"""What people look at: the terminal, plots, pictures, videos, and the page with its server."""
