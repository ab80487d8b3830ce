"""The console: pages, who may see them, and what moves on them."""
