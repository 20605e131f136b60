"""Mail to clients: written, sent, sent again."""
