"""Networks that no package carries, written from the descriptions of their architectures: a small file a family."""
