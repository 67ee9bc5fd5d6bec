"""The homes: all ports together, in AWS and on a laptop."""
