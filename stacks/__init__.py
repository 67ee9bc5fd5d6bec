"""What is deployed to AWS: one module per stack, and every difference between environments."""
