"""From pictures to regression targets, and back where a space has a decoder."""
