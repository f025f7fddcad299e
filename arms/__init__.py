"""Arms: who can do work, whether they are well, and how to talk to them."""
