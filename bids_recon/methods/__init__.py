"""The published systems, behind one interface."""
